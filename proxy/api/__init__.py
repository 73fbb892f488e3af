"""The management API's part about what passes through: calls, usage, registrations, the ledger, owners."""
