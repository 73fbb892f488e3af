"""The HTTP server and what surrounds every request: connections, timeouts, middleware, logs, metrics, health."""
