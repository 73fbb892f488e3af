"""Requests without a valid key, counted by why, whence and in which hour. None is stored by itself, so that a
flood of random keys costs a few rows. Pure; `proxy.usage.writer` writes the counts down."""

import datetime
import threading
from collections import Counter
from dataclasses import dataclass

from keys.credentials.addresses import network_of

PLACES = 2000  # (reason, network) pairs that one process tells apart in an hour; the rest have no network


@dataclass(frozen=True, order=True)
class Place:
    hour: datetime.datetime
    reason: str
    network: str


class Attempts:
    """Counts in memory until they are taken. Bounded, thread-safe."""

    def __init__(self, *, places: int = PLACES) -> None:
        self.places = places
        self.lock = threading.Lock()
        self.counts: Counter[Place] = Counter()
        self.hour = datetime.datetime.min.replace(tzinfo=datetime.UTC)
        self.known: set[Place] = set()

    def add(self, reason: str, address: str, *, at: datetime.datetime) -> None:
        hour = at.replace(minute=0, second=0, microsecond=0)
        place = Place(hour, reason[:40], network_of(address))
        with self.lock:
            if hour > self.hour:
                self.hour, self.known = hour, set()
            if place not in self.known:
                if len(self.known) >= self.places:
                    place = Place(hour, place.reason, "")
                self.known.add(place)
            self.counts[place] += 1

    def take(self) -> Counter[Place]:
        """All counts, which are then the caller's: to write down, or to `give_back`."""
        with self.lock:
            taken, self.counts = self.counts, Counter()
        return taken

    def give_back(self, counts: Counter[Place]) -> None:
        with self.lock:
            self.counts.update(counts)
