"""The connection to MLflow: client, pools, circuit breaker, slots in flight, shares of users."""

# Calls over the limits of `in_flight` that wait for a slot in one process. Each occupies a thread, so that the server
# starts as many more; it reads this before Django has loaded.
MOST_WAITING = 12
