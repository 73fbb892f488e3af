"""Whether the shared counters in Redis can be used at the moment."""

from prometheus_client import Counter

FALLBACKS = Counter(
    "hokusai_limiter_fallbacks", "How many times Redis was lost and calls were counted in memory."
)


class RedisUnavailable(Exception):
    """Redis does not respond; count in memory."""
