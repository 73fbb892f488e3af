"""How many calls are being forwarded at once: in all and for each caller, so that nobody can occupy every thread.

Counted for each process, since it is a process's threads that are shared out. Artifact transfers, which may be
slow, get three quarters of the places, so that other calls find one however slow the transfers are; and no key gets
more than half of either, nor a user more than half with all keys and the session. A transfer also goes slower while
others call, since all threads of a process share one interpreter: at full speed it would take the lock from them
again and again.
"""

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from prometheus_client import Gauge

from keys.refusals import Refusal, unavailable

IN_FLIGHT = Gauge(
    "hokusai_calls_in_flight", "Calls being forwarded now.", ["kind"], multiprocess_mode="livesum"
)
GAUGES = {False: IN_FLIGHT.labels("calls"), True: IN_FLIGHT.labels("transfers")}
MOST_RETRY_SECONDS = 30
RECENT_SECONDS = 0.25  # for which a call makes others' transfers go slower
TRANSFERS_SHARE = 0.1  # of one processor that a key's transfers may then have: less while it calls too


@dataclass(eq=False)
class Place:
    """Held by one call from `since` (monotonic clock) until it is left."""

    places: "Places"
    name: str  # of the key, or of the user if by session
    owner: str
    is_transfer: bool
    since: float = field(default_factory=time.monotonic)
    spent: float | None = None  # seconds of a processor, by its thread until the last piece

    def leave(self) -> None:
        self.places.give_back(self)

    def give_way(self) -> None:
        """Between two pieces of a transfer: if others call, wait nine times as long as the last one took of a
        processor, once for each of the key's transfers and calls under way."""
        before, self.spent = self.spent, time.thread_time()
        if self.is_transfer and before is not None and self.places.others_call(self.name):
            cost = self.spent - before
            time.sleep(cost * (1 / TRANSFERS_SHARE - 1) * len(self.places.taken.get(self.name, ())))


@dataclass
class Places:
    """So many calls at once, so many of them one key's and one user's, and the same for transfers alone.

    Thread-safe.
    """

    most: int
    most_each: int
    most_transfers: int
    most_transfers_each: int
    most_owners: int
    most_transfers_owners: int
    lock: Any = field(default_factory=threading.Lock)
    taken: dict[str, set[Place]] = field(default_factory=dict)
    owned: dict[str, set[Place]] = field(default_factory=dict)
    count: int = 0
    transfers: int = 0
    last: tuple[str, float] = ("", float("-inf"))  # who called last, and when
    last_other: tuple[str, float] = ("", float("-inf"))  # the last one who is somebody else

    def take(self, name: str, *, owner: str, is_transfer: bool) -> Place:
        """A place for a call with the key `name` of the user `owner`. Raises Refusal (503) if there is none."""
        with self.lock:
            for held, most, most_transfers in (
                (self.taken.get(name, ()), self.most_each, self.most_transfers_each),
                (self.owned.get(owner, ()), self.most_owners, self.most_transfers_owners),
            ):
                transfers = [place for place in held if place.is_transfer] if is_transfer else []
                if len(held) >= most:
                    raise too_many(held, "calls")
                if len(transfers) >= most_transfers:
                    raise too_many(transfers, "artifact transfers")
            if self.count >= self.most or (is_transfer and self.transfers >= self.most_transfers):
                raise unavailable(
                    "portal_busy",
                    "The portal is busy with other calls and transfers. Try again in a few seconds.",
                )
            place = Place(self, name, owner, is_transfer)
            self.taken.setdefault(name, set()).add(place)
            self.owned.setdefault(owner, set()).add(place)
            self.count += 1
            self.transfers += is_transfer
            if not is_transfer:
                if self.last[0] != name:
                    self.last_other = self.last
                self.last = (name, place.since)
        GAUGES[is_transfer].inc()
        return place

    def others_call(self, name: str) -> bool:
        """Whether somebody else has made a call, not a transfer, just now."""
        _, at = self.last if self.last[0] != name else self.last_other
        return time.monotonic() - at < RECENT_SECONDS

    def give_back(self, place: Place) -> None:
        """Its call is over; once is enough."""
        with self.lock:
            if place not in self.taken.get(place.name, ()):
                return
            for held, name in ((self.taken, place.name), (self.owned, place.owner)):
                held[name].remove(place)
                if not held[name]:
                    del held[name]
            self.count -= 1
            self.transfers -= place.is_transfer
        GAUGES[place.is_transfer].dec()


def too_many(own: Collection[Place], what: str) -> Refusal:
    """Small files are over in a moment, large ones are not: as long as they took so far is told to wait."""
    now = time.monotonic()
    age = sum(now - place.since for place in own) / len(own)
    return unavailable(
        "too_many_in_flight",
        f"{len(own)} {what} of yours are under way already, which is as many as one caller may have at once, with "
        "all keys together.",
        retry_after=min(MOST_RETRY_SECONDS, max(1, round(age))),
    )


def from_settings() -> Places:
    transfers = max(1, settings.MAX_IN_FLIGHT * 3 // 4)
    return Places(
        most=settings.MAX_IN_FLIGHT,
        most_each=settings.MAX_IN_FLIGHT_PER_KEY,
        most_transfers=transfers,
        most_transfers_each=max(1, min(settings.MAX_IN_FLIGHT_PER_KEY, transfers // 2)),
        most_owners=max(settings.MAX_IN_FLIGHT_PER_KEY, settings.MAX_IN_FLIGHT // 2),
        most_transfers_owners=max(1, transfers // 2),
    )
