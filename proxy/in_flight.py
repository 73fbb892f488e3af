"""How many calls are being forwarded at once: in all and for each caller, so that nobody can occupy every thread.

Counted for each process, since it is a process's threads that are shared out.
"""

import threading
from collections import Counter

from prometheus_client import Gauge

from keys.refusals import unavailable

IN_FLIGHT = Gauge("hokusai_calls_in_flight", "Calls being forwarded now.", multiprocess_mode="livesum")
RETRY_SECONDS = 2


class Places:
    """So many calls at once, and so many of one caller's. Thread-safe."""

    def __init__(self, *, most: int, most_each: int) -> None:
        self.most, self.most_each = most, most_each
        self.lock = threading.Lock()
        self.taken: Counter[str] = Counter()
        self.count = 0

    def take(self, name: str) -> "Place":
        """A place for a call of the caller `name`. Raises Refusal (503) if there is none."""
        with self.lock:
            if self.taken[name] >= self.most_each:
                raise unavailable(
                    "too_many_in_flight",
                    f"{self.most_each} calls of yours are under way already. Wait for one of them to end.",
                    retry_after=RETRY_SECONDS,
                )
            if self.count >= self.most:
                raise unavailable(
                    "portal_busy",
                    "The portal is busy with other calls and transfers. Try again in a few seconds.",
                    retry_after=RETRY_SECONDS,
                )
            self.taken[name] += 1
            self.count += 1
            IN_FLIGHT.inc()
        return Place(self, name)

    def give_back(self, name: str) -> None:
        with self.lock:
            self.taken[name] -= 1
            if not self.taken[name]:
                del self.taken[name]
            self.count -= 1
            IN_FLIGHT.dec()


class Place:
    """Held by one call until it is left, once."""

    def __init__(self, places: Places, name: str) -> None:
        self.places: Places | None = places
        self.name = name

    def leave(self) -> None:
        places, self.places = self.places, None
        if places:
            places.give_back(self.name)
