"""Walls between organisations: what a call may name, beyond what MLflow's workspaces keep apart by themselves."""
