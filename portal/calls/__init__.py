"""Calls by key on their way from the server to the view."""
