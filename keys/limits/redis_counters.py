"""The counters of `keys.limits.windows` and `keys.limits.months` in Redis or Valkey, for all processes together.

Redis is a guest on the path of a call: what it does not answer within TIMEOUT is counted in memory, and it is
not asked again until a ping of its own thread came through. The only module that knows redis and `limits`.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import redis
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from keys.limits.counters import FALLBACKS, Away
from keys.limits.windows import Reading

logger = logging.getLogger(__name__)

TIMEOUT = 0.03  # seconds for each word with Redis
PING_SECONDS = 0.25  # between pings while it is away
PREFIX = "hokusai"
MONTH_SECONDS = 40 * 86_400  # after which a month's counters go

# Month's counters are a hash with `calls` and `size`. Lua's numbers are exact up to 2^53.
ADMIT = """
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
    """What Windows and Months do, shared. Everything raises Away while Redis does not answer."""

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
        self.admit_script = self.client.register_script(ADMIT)
        self.add_script = self.client.register_script(ADD)
        self.raise_script = self.client.register_script(RAISE_TO)
        self.lock = threading.Lock()
        self.is_up = True

    def ask(self, question: Callable[[], Value]) -> Value:
        if not self.is_up:
            raise Away
        try:
            return question()
        except (redis.RedisError, OSError) as error:
            self.lose(error)
            raise Away from error

    def lose(self, error: Exception) -> None:
        """Ask no more; a thread finds out when Redis is back."""
        with self.lock:
            if not self.is_up:
                return
            self.is_up = False
        FALLBACKS.inc()
        logger.warning("redis_lost", extra={"error": type(error).__name__})
        threading.Thread(target=self.wait_until_back, name="redis-ping", daemon=True).start()

    def wait_until_back(self) -> None:
        while not self.is_up:
            time.sleep(PING_SECONDS)
            try:
                self.client.connection_pool.disconnect(inuse_connections=False)
                self.client.ping()
            except (redis.RedisError, OSError):
                continue
            self.is_up = True
            logger.info("redis_back")

    def ping(self) -> None:
        self.ask(self.client.ping)

    def hit(self, name: str, limit: int) -> bool:
        return self.ask(lambda: self.minutes.hit(RateLimitItemPerMinute(limit), name))

    def read_minute(self, name: str, limit: int) -> Reading:
        item = RateLimitItemPerMinute(limit)
        previous, previous_left, current, current_left = self.ask(
            lambda: self.storage.get_sliding_window(item.key_for(name), item.get_expiry())
        )
        return Reading(
            previous=previous,
            previous_left=previous_left,
            current=current,
            current_left=max(0.0, current_left - item.get_expiry()),  # it is kept for twice as long
        )

    def admit(self, name: str, *, calls: int | None, size: int | None) -> bool | None:
        limits = ["" if limit is None else limit for limit in (calls, size)]
        answer = self.ask(lambda: self.admit_script([month_name(name)], limits))
        return None if answer == -1 else answer == 1

    def add(self, name: str, calls: int, size: int) -> None:
        self.ask(lambda: self.add_script([month_name(name)], [calls, size]))

    def raise_to(self, name: str, calls: int, size: int) -> None:
        self.ask(lambda: self.raise_script([month_name(name)], [calls, size, MONTH_SECONDS]))

    def read_month(self, name: str) -> tuple[int, int] | None:
        calls, size = self.ask(lambda: self.client.hmget(month_name(name), "calls", "size"))
        return None if calls is None else (int(calls), int(size))


def month_name(name: str) -> str:
    return f"{PREFIX}:month:{name}"
