"""Calls counted within the last minute, in memory. Exact over the threads of one process."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import floor

SECONDS = 60.0
PRUNE_ABOVE = 10_000  # names


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A sliding minute: the last fixed minute counts in proportion to what is left of it.

    `limits` counts in the same way in Redis. Times in seconds.
    """

    previous: int = 0
    previous_left: float = 0.0  # until nothing of the last fixed minute counts
    current: int = 0
    current_left: float = 0.0  # until the present fixed minute becomes the last

    @property
    def used(self) -> int:
        return floor(self.previous * self.previous_left / SECONDS) + self.current

    def free_in(self, limit: int) -> float:
        """Seconds until one more call fits."""
        weight_allowed = limit - self.current  # of the last minute, exclusive
        if weight_allowed > 0:
            wait = self.previous_left - SECONDS * weight_allowed / self.previous if self.previous else 0.0
            return max(0.0, wait)
        return self.current_left + max(0.0, SECONDS - SECONDS * limit / self.current)


@dataclass
class Window:
    minute: int
    current: int = 0
    previous: int = 0


class Windows:
    """Minutes by name. Thread-safe. On the monotonic clock, so that setting the clock changes nothing."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.lock = threading.Lock()
        self.windows: dict[str, Window] = {}

    def hit(self, name: str, limit: int) -> bool:
        """Count a call if it is within the limit. Returns whether it was counted."""
        now = self.clock()
        with self.lock:
            window = self.window_at(name, now)
            weight = 1 - now % SECONDS / SECONDS
            if floor(window.previous * weight) + window.current >= limit:
                return False
            window.current += 1
            return True

    def read(self, name: str) -> Reading:
        now = self.clock()
        with self.lock:
            window = self.window_at(name, now) if name in self.windows else Window(minute=0)
        left = SECONDS - now % SECONDS
        return Reading(
            previous=window.previous, previous_left=left, current=window.current, current_left=left
        )

    def window_at(self, name: str, now: float) -> Window:
        """The name's window, moved on to the present minute."""
        minute = int(now // SECONDS)
        window = self.windows.get(name)
        if window is None:
            self.prune(minute)
            window = self.windows[name] = Window(minute=minute)
        elif window.minute != minute:
            window.previous = window.current if window.minute == minute - 1 else 0
            window.current, window.minute = 0, minute
        return window

    def prune(self, minute: int) -> None:
        if len(self.windows) >= PRUNE_ABOVE:
            self.windows = {
                name: window for name, window in self.windows.items() if window.minute >= minute - 1
            }
