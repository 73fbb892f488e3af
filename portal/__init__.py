"""Assembles the parts: settings, URLs, the HTTP server, sign-in, pages, and one machine for `make run`."""
