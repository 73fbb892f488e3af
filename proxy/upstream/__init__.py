"""The connection to MLflow: client, pools, circuit breaker, slots in flight, shares of users."""

# Calls that wait for a slot in one process, most of them by session, beside those that `portal.calls.waiting` holds.
# Each occupies a thread, so that the server starts as many more; it reads this before Django has loaded.
MOST_WAITING_THREADS = 12
