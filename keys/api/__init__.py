"""The management API: who calls it, its answers, and its part about keys and users. `portal.api` has the addresses."""
