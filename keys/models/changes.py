"""The channel on which PostgreSQL announces changes, and on which `keys.credentials.cache` listens."""

CHANNEL = "hokusai_changes"
