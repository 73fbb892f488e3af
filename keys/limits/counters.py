"""Where calls are counted: in Redis while it answers, else in this process."""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client import Counter

from keys.limits.months import Months
from keys.limits.windows import Reading, Windows

if TYPE_CHECKING:
    from keys.limits.redis_counters import RedisCounters

FALLBACKS = Counter(
    "hokusai_limiter_fallbacks", "How many times Redis was lost and calls were counted in memory."
)


class Away(Exception):
    """Redis does not answer; count in memory."""


@dataclass
class Counters:
    """The counters of this process, and those that all share while Redis answers."""

    redis: "RedisCounters | None" = None
    windows: Windows = field(default_factory=Windows)
    months: Months = field(default_factory=Months)

    def hit(self, name: str, limit: int) -> bool:
        if self.redis:
            try:
                return self.redis.hit(name, limit)
            except Away:
                pass
        return self.windows.hit(name, limit)

    def read_minute(self, name: str, limit: int) -> Reading:
        if self.redis:
            try:
                return self.redis.read_minute(name, limit)
            except Away:
                pass
        return self.windows.read(name)

    def admit(self, name: str, *, calls: int | None, size: int | None) -> bool | None:
        if self.redis:
            try:
                return self.redis.admit(name, calls=calls, size=size)
            except Away:
                pass
        return self.months.admit(name, calls=calls, size=size)

    def add(self, name: str, calls: int, size: int) -> None:
        if self.redis:
            try:
                return self.redis.add(name, calls, size)
            except Away:
                pass
        return self.months.add(name, calls, size)

    def raise_to(self, name: str, calls: int, size: int) -> None:
        """In both, so that memory knows about where Redis was when it goes away."""
        self.months.raise_to(name, calls, size)
        if self.redis:
            with suppress(Away):
                self.redis.raise_to(name, calls, size)

    def read_month(self, name: str) -> tuple[int, int] | None:
        if self.redis:
            try:
                return self.redis.read_month(name)
            except Away:
                pass
        return self.months.read(name)
