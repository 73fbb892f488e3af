"""Calls by key and health checks on their way from the server to the view, without the portal's pages."""
