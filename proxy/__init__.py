"""Forwarded requests and responses: MLflow's routes, the policy, the upstream, the usage log, the ledger."""
