"""The counters of `keys.limits.memory_counters` in Redis or Valkey, for all processes together.

Redis must not slow down a call: if it does not respond within TIMEOUT, the call is counted in memory, and Redis is not
queried again until a thread of its own has verified it. A Redis that responds but refuses to count (wrong password,
node of a cluster, replica) is treated the same, and `problem` names the reason. The only module that imports redis and
`limits`.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import redis
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from keys.limits.availability import FALLBACKS, RedisUnavailable
from keys.limits.sliding_minute import SlidingMinute

logger = logging.getLogger(__name__)

TIMEOUT = 0.03  # seconds for each query
PING_SECONDS = 0.25  # between pings while it is away
PREFIX = "hokusai"
PROBE_SECONDS = 60  # after which Redis deletes the key with which it is verified
MONTH_SECONDS = 40 * 86_400  # after which Redis deletes the counters of a month

# The counters of a month are a hash with the fields `calls` and `size` (bytes). Lua's numbers are exact up to 2^53.
COUNT = """
local used = redis.call('HMGET', KEYS[1], 'calls', 'size')
if not used[1] then return -1 end
if ARGV[1] ~= '' and tonumber(used[1]) >= tonumber(ARGV[1]) then return 0 end
if ARGV[2] ~= '' and tonumber(used[2]) >= tonumber(ARGV[2]) then return 0 end
redis.call('HINCRBY', KEYS[1], 'calls', 1)
return 1
"""
ADD = """
if redis.call('EXISTS', KEYS[1]) == 0 then return end
redis.call('HINCRBY', KEYS[1], 'calls', ARGV[1])
redis.call('HINCRBY', KEYS[1], 'size', ARGV[2])
"""
RAISE_TO = """
for index, field in ipairs({'calls', 'size'}) do
  if tonumber(ARGV[index]) >= tonumber(redis.call('HGET', KEYS[1], field) or 0) then
    redis.call('HSET', KEYS[1], field, ARGV[index])
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""
Value = TypeVar("Value")


class RedisCounters:
    """The same as MinuteCounters and MonthCounters, shared by all processes. Every method raises RedisUnavailable while
    Redis does not respond."""

    def __init__(self, url: str) -> None:
        self.storage = RedisStorage(
            url.replace("unix://", "redis+unix://", 1) if url.startswith("unix://") else url,
            key_prefix=PREFIX,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type]  # it goes to redis-py as it is
            client_name="hokusai-portal",
        )
        self.client: Any = self.storage.storage
        self.minutes = SlidingWindowCounterRateLimiter(self.storage)
        self.count_script = self.client.register_script(COUNT)
        self.add_script = self.client.register_script(ADD)
        self.raise_script = self.client.register_script(RAISE_TO)
        self.lock = threading.Lock()
        self.is_up = True
        self.problem = ""  # why it is not

    def query(self, send: Callable[[], Value]) -> Value:
        if not self.is_up:
            raise RedisUnavailable
        try:
            return send()
        except (redis.RedisError, OSError) as error:
            self.lose(error)
            raise RedisUnavailable from error

    def lose(self, error: Exception) -> None:
        """Stop querying Redis until a thread has reached it again."""
        with self.lock:
            if not self.is_up:
                return
            self.problem = describe_problem(error)
            self.is_up = False
        FALLBACKS.inc()
        logger.warning("redis_lost", extra={"error": type(error).__name__, "problem": self.problem})
        threading.Thread(target=self.wait_until_back, name="redis-ping", daemon=True).start()

    def wait_until_back(self) -> None:
        while not self.is_up:
            time.sleep(PING_SECONDS)
            try:
                self.client.connection_pool.disconnect(inuse_connections=False)
                self.verify()
            except (redis.RedisError, OSError) as error:
                self.problem = describe_problem(error)
                continue
            self.is_up = True
            self.problem = ""
            logger.info("redis_back")

    def verify(self) -> None:
        """Raise a RedisError unless it counts for all names. A ping is not enough: nodes of a cluster and replicas
        respond to it."""
        with suppress(exceptions.NoPermissionError):  # the script below shows whether the user may count
            if self.client.info("cluster").get("cluster_enabled"):
                raise exceptions.ClusterError("cluster mode")
        self.raise_script([month_key("probe")], [0, 0, PROBE_SECONDS])

    def check(self) -> None:
        self.query(self.verify)

    def hit(self, name: str, limit: int) -> bool:
        return self.query(lambda: self.minutes.hit(RateLimitItemPerMinute(limit), name))

    def read_minute(self, name: str, limit: int) -> SlidingMinute:
        item = RateLimitItemPerMinute(limit)
        previous, previous_left, current, current_left = self.query(
            lambda: self.storage.get_sliding_window(item.key_for(name), item.get_expiry())
        )
        return SlidingMinute(
            previous=previous,
            previous_left=previous_left,
            current=current,
            current_left=max(0.0, current_left - item.get_expiry()),  # it is stored for twice as long
        )

    def count_in_month(self, name: str, *, max_calls: int | None, max_bytes: int | None) -> bool | None:
        arguments = ["" if limit is None else limit for limit in (max_calls, max_bytes)]
        outcome = self.query(lambda: self.count_script([month_key(name)], arguments))
        return None if outcome == -1 else outcome == 1

    def add_to_month(self, name: str, calls: int, byte_count: int) -> None:
        self.query(lambda: self.add_script([month_key(name)], [calls, byte_count]))

    def raise_month_to(self, name: str, calls: int, byte_count: int) -> None:
        self.query(lambda: self.raise_script([month_key(name)], [calls, byte_count, MONTH_SECONDS]))

    def read_month(self, name: str) -> tuple[int, int] | None:
        calls, byte_count = self.query(lambda: self.client.hmget(month_key(name), "calls", "size"))
        return None if calls is None else (int(calls), int(byte_count))


def describe_problem(error: Exception) -> str:
    """For operators: why Redis cannot be used, without the address and password in REDIS_URL."""
    match error:
        case exceptions.AuthenticationError():
            return "Redis refuses the user or the password in REDIS_URL"
        case exceptions.ClusterError() | exceptions.MovedError() | exceptions.AskError():
            return (
                "REDIS_URL names a node of a Redis cluster, which holds only a part of the counters; name a Redis "
                "without cluster mode"
            )
        case _ if isinstance(error, exceptions.ReadOnlyError) or "-READONLY " in str(
            error
        ):  # the latter by a script
            return "REDIS_URL names a replica, which cannot count; name the primary"
        case exceptions.NoPermissionError():
            return f"the user in REDIS_URL may not run a command or use a key that starts with {PREFIX}:"
        case exceptions.OutOfMemoryError():
            return "Redis has no memory left for counters"
    return "Redis is away"


def month_key(name: str) -> str:
    return f"{PREFIX}:month:{name}"
