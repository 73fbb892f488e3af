"""The ledger of registrations: written before MLflow is called, completed, chained, verified, reconciled."""
