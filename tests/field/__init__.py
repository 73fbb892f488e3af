"""Real programs of MLflow's field against the portal: `make compat` and `make integrations`, outside CI."""
