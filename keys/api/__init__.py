"""The management API: its callers, its responses, and its part about keys and users. `portal.api` has the URLs."""
