"""Calls and bytes of a calendar month by name, in memory. Exact over the threads of one process."""

import threading
from dataclasses import dataclass

PRUNE_ABOVE = 10_000  # names


@dataclass
class Month:
    calls: int
    size: int  # bytes


class Months:
    """Thread-safe. A name counts only after `raise_to` has said what it used before."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.months: dict[str, Month] = {}

    def admit(self, name: str, *, calls: int | None, size: int | None) -> bool | None:
        """Count a call if fewer than `calls` and less than `size` bytes are used (None: no limit); whether it
        was counted. None if nothing is known of the name."""
        with self.lock:
            month = self.months.get(name)
            if month is None:
                return None
            if (calls is not None and month.calls >= calls) or (size is not None and month.size >= size):
                return False
            month.calls += 1
            return True

    def add(self, name: str, calls: int, size: int) -> None:
        with self.lock:
            if month := self.months.get(name):
                month.calls += calls
                month.size += size

    def raise_to(self, name: str, calls: int, size: int) -> None:
        """So much was used at least: what others counted, or what was counted before this process began."""
        with self.lock:
            month = self.months.get(name)
            if month is None:
                self.prune()
                self.months[name] = Month(calls, size)
                return
            month.calls, month.size = max(month.calls, calls), max(month.size, size)

    def read(self, name: str) -> tuple[int, int] | None:
        with self.lock:
            month = self.months.get(name)
            return (month.calls, month.size) if month else None

    def prune(self) -> None:
        """The oldest go; a name that comes again is asked for again."""
        while len(self.months) >= PRUNE_ABOVE:
            del self.months[next(iter(self.months))]
