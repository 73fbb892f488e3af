"""The connection to MLflow: client, pools, circuit breaker, slots in flight, shares of users."""
