"""MLflow's routes as tables: operations, the served and the refused ones. Pure."""
