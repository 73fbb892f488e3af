"""Calls and bytes of a calendar month by name, in memory. Exact over the threads of one process."""

import threading
from dataclasses import dataclass

PRUNE_ABOVE = 10_000  # names


@dataclass
class Month:
    calls: int
    byte_count: int


class Months:
    """Thread-safe. A name is unknown until `raise_month_to` has set what it used before."""

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
