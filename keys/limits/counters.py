"""Where calls are counted: in Redis while it responds, else in this process."""

from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from django.conf import settings

from keys.limits.availability import RedisUnavailable
from keys.limits.memory_counters import MinuteCounters, MonthCounters
from keys.limits.sliding_minute import SlidingMinute

if TYPE_CHECKING:
    from keys.limits.redis_counters import RedisCounters


@dataclass
class Counters:
    """The counters of this process, and those that all processes share while Redis responds."""

    redis: "RedisCounters | None" = None
    minutes: MinuteCounters = field(default_factory=MinuteCounters)
    months: MonthCounters = field(default_factory=MonthCounters)

    def hit(self, name: str, limit: int) -> bool:
        if self.redis:
            try:
                return self.redis.hit(name, limit)
            except RedisUnavailable:
                pass
        return self.minutes.hit(name, limit)

    def read_minute(self, name: str, limit: int) -> SlidingMinute:
        if self.redis:
            try:
                return self.redis.read_minute(name, limit)
            except RedisUnavailable:
                pass
        return self.minutes.read(name)

    def count_in_month(self, name: str, *, max_calls: int | None, max_bytes: int | None) -> bool | None:
        if self.redis:
            try:
                return self.redis.count_in_month(name, max_calls=max_calls, max_bytes=max_bytes)
            except RedisUnavailable:
                pass
        return self.months.count_in_month(name, max_calls=max_calls, max_bytes=max_bytes)

    def add_to_month(self, name: str, calls: int, byte_count: int) -> None:
        if self.redis:
            try:
                return self.redis.add_to_month(name, calls, byte_count)
            except RedisUnavailable:
                pass
        return self.months.add_to_month(name, calls, byte_count)

    def raise_month_to(self, name: str, calls: int, byte_count: int) -> None:
        """Raise the counters in memory too, so that they are nearly right if Redis is lost."""
        self.months.raise_month_to(name, calls, byte_count)
        if self.redis:
            with suppress(RedisUnavailable):
                self.redis.raise_month_to(name, calls, byte_count)

    def read_month(self, name: str) -> tuple[int, int] | None:
        if self.redis:
            try:
                return self.redis.read_month(name)
            except RedisUnavailable:
                pass
        return self.months.read_month(name)


@cache
def get_counters() -> Counters:
    """The counters of this process. The connection to Redis is opened on first use."""
    if not settings.REDIS_URL:
        return Counters()
    # Loaded only where it is used: the import takes a tenth of the time that a process needs to start.
    from keys.limits.redis_counters import RedisCounters

    return Counters(redis=RedisCounters(settings.REDIS_URL))


def redis_problem() -> str | None:
    """Why Redis cannot be used at the moment; "" if it can, None without Redis."""
    redis = get_counters().redis
    if redis is None:
        return None
    with suppress(RedisUnavailable):
        redis.check()
    return redis.problem
