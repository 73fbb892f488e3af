"""The management commands about forwarded calls."""
