"""Template tags for times."""
