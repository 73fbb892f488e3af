"""Template tags for calls and registrations."""
