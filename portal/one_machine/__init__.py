"""Everything that `make run` starts on one machine: PostgreSQL, MLflow, the portal, and their supervision."""
