"""Counters in memory of the calls of a minute, and of the calls and bytes of a calendar month, by name.

Thread-safe, and exact over the threads of one process. `redis_counters` counts the same for all processes together.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import floor

from keys.limits.sliding_minute import SECONDS, SlidingMinute

PRUNE_ABOVE = 10_000  # names


@dataclass
class FixedMinutes:
    """The calls of the fixed minute with this number, and of the one before."""

    minute: int
    current: int = 0
    previous: int = 0


class MinuteCounters:
    """The calls of the last minute. On the monotonic clock, so that setting the clock changes nothing."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.lock = threading.Lock()
        self.counts: dict[str, FixedMinutes] = {}

    def hit(self, name: str, limit: int) -> bool:
        """Count a call if it is within the limit. Returns whether it was counted."""
        now = self.clock()
        with self.lock:
            count = self.count_at(name, now)
            weight = 1 - now % SECONDS / SECONDS
            if floor(count.previous * weight) + count.current >= limit:
                return False
            count.current += 1
            return True

    def read(self, name: str) -> SlidingMinute:
        now = self.clock()
        with self.lock:
            count = self.count_at(name, now) if name in self.counts else FixedMinutes(minute=0)
        left = SECONDS - now % SECONDS
        return SlidingMinute(
            previous=count.previous, previous_left=left, current=count.current, current_left=left
        )

    def count_at(self, name: str, now: float) -> FixedMinutes:
        """The name's count, moved on to the current minute."""
        minute = int(now // SECONDS)
        count = self.counts.get(name)
        if count is None:
            self.prune(minute)
            count = self.counts[name] = FixedMinutes(minute=minute)
        elif count.minute != minute:
            count.previous = count.current if count.minute == minute - 1 else 0
            count.current, count.minute = 0, minute
        return count

    def prune(self, minute: int) -> None:
        if len(self.counts) >= PRUNE_ABOVE:
            self.counts = {name: count for name, count in self.counts.items() if count.minute >= minute - 1}


@dataclass
class Month:
    calls: int
    byte_count: int


class MonthCounters:
    """The calls and bytes of a calendar month. A name is unknown until `raise_month_to` has set what it used before."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.months: dict[str, Month] = {}

    def count_in_month(self, name: str, *, max_calls: int | None, max_bytes: int | None) -> bool | None:
        """Count a call if both limits allow it (None: no limit). Returns whether it was counted; None if the name
        is unknown."""
        with self.lock:
            month = self.months.get(name)
            if month is None:
                return None
            if max_calls is not None and month.calls >= max_calls:
                return False
            if max_bytes is not None and month.byte_count >= max_bytes:
                return False
            month.calls += 1
            return True

    def add_to_month(self, name: str, calls: int, byte_count: int) -> None:
        with self.lock:
            if month := self.months.get(name):
                month.calls += calls
                month.byte_count += byte_count

    def raise_month_to(self, name: str, calls: int, byte_count: int) -> None:
        """Raise the name's counters to at least these values, which other processes, or this one before a restart,
        have counted."""
        with self.lock:
            month = self.months.get(name)
            if month is None:
                self.prune()
                self.months[name] = Month(calls, byte_count)
                return
            month.calls, month.byte_count = max(month.calls, calls), max(month.byte_count, byte_count)

    def read_month(self, name: str) -> tuple[int, int] | None:
        with self.lock:
            month = self.months.get(name)
            return (month.calls, month.byte_count) if month else None

    def prune(self) -> None:
        """Forget the oldest names. One that returns is read from the usage log again."""
        while len(self.months) >= PRUNE_ABOVE:
            del self.months[next(iter(self.months))]
