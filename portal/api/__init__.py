"""The URLs of the management API, its schema, and its part about the portal itself."""
