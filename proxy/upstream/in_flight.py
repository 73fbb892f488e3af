"""Limits the number of calls that are forwarded at once, in total and for each caller, so that nobody can occupy
every thread.

Counted for each process, because the threads of one process are shared. Artifact transfers, which may be slow, get at
most three quarters of the slots, so that other calls find a free one. A key gets at most half of the slots, and so
does a user with all keys and the session together. A transfer also slows down while others call: all threads of a
process share one interpreter, and a transfer at full speed would keep taking its lock from them.

A few calls over the limit wait for a slot in the order in which they came, before any call that comes later. Without
that, MLflow's client with 24 threads lost one call of a thousand: each of its eight attempts met only busy slots. Calls
by key wait in the server's event loop, without a thread (`portal.calls.waiting`).
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.conf import settings
from prometheus_client import Gauge

from keys.refusals import Refusal, not_sent
from proxy.slot_queue import Line, SlotQueue, WaitingCall, WaitsForSlot
from proxy.upstream import MOST_WAITING_THREADS
from proxy.upstream.time_share import PROCESSOR

IN_FLIGHT = Gauge(
    "hokusai_calls_in_flight", "Calls being forwarded now.", ["kind"], multiprocess_mode="livesum"
)
GAUGES = {False: IN_FLIGHT.labels("calls"), True: IN_FLIGHT.labels("transfers")}
QUEUE = "hokusai_calls_queued"
WAITING = Gauge(QUEUE, "Calls that wait for a slot of their key.", ["kind"], multiprocess_mode="livesum")
QUEUED = {False: WAITING.labels("calls"), True: WAITING.labels("transfers")}
MOST_RETRY_SECONDS = 30
REFUSED_SECONDS, MOST_REFUSED = 5.0, 200  # refusals of a user that count as calls that will come again
WAIT_SECONDS = 2.0  # for a slot
MOST_THREADS_EACH = 8  # calls of one user that wait in a thread
RECENT_SECONDS = 0.25  # for so long after a call, others' transfers are slowed down
TRANSFERS_SHARE = 0.1  # of one processor, for all transfers of a key meanwhile; less while it calls too


@dataclass(eq=False)
class Slot:
    """One call's slot, held from `since` (monotonic clock) until it is released."""

    slots: "Slots"
    name: str  # of the key, or of the user if by session
    owner: str
    is_transfer: bool
    since: float = field(default_factory=time.monotonic)
    spent: float | None = None  # CPU seconds of its thread until the last piece

    def release(self) -> None:
        self.slots.release(self)

    def throttle(self) -> None:
        """Call between two pieces of a transfer: if others call, it waits nine times the CPU time of the last piece,
        once for each of the key's transfers and calls in flight."""
        before, self.spent = self.spent, time.thread_time()
        if self.is_transfer and before is not None and self.slots.others_call(self.name):
            cost = self.spent - before
            time.sleep(cost * (1 / TRANSFERS_SHARE - 1) * len(self.slots.taken.get(self.name, ())))


class FullLimit(NamedTuple):
    """A limit that is reached: the slots that count towards it, and what holds them. `EVERYBODYS` counts them all."""

    slots: Collection[Slot]
    what: str


NO_SLOTS: frozenset[Slot] = frozenset()
EVERYBODYS = FullLimit(NO_SLOTS, "calls")


@dataclass
class Slots:
    """The limits: calls at once, in total, for each key and for each user, and the same for transfers alone.

    Thread-safe.
    """

    most: int
    most_each: int
    most_transfers: int
    most_transfers_each: int
    most_owners: int
    most_transfers_owners: int
    lock: Any = field(default_factory=threading.Condition)  # notified when a slot becomes free
    queue: SlotQueue = field(default_factory=SlotQueue)  # of calls that wait without a thread
    waiting: dict[tuple[str, bool], deque[object]] = field(default_factory=dict)
    taken: dict[str, set[Slot]] = field(default_factory=dict)
    owned: dict[str, set[Slot]] = field(default_factory=dict)
    count: int = 0
    transfers: int = 0
    refused: dict[str, deque[float]] = field(default_factory=dict)  # by user, the times
    last: tuple[str, float] = ("", float("-inf"))  # the last caller, and the time
    last_other: tuple[str, float] = ("", float("-inf"))  # the last other caller

    def take_for_request(self, name: str, *, owner: str, is_transfer: bool, connection: Any) -> Slot:
        """A slot for the call on the server's `connection`. Raises WaitsForSlot if none is free and the server holds
        the request, else Refusal (429)."""
        granted: Slot | None = connection.claim_slot() if hasattr(connection, "claim_slot") else None
        if granted and (granted.name, granted.is_transfer) == (name, is_transfer):
            return granted
        if granted:
            granted.release()
        if getattr(connection, "has_waited", False):
            return self.take(name, owner=owner, is_transfer=is_transfer)
        if not getattr(connection, "may_wait", False):
            return self.take_in_turn(name, owner=owner, is_transfer=is_transfer)
        taken = self.take_or_wait(name, owner=owner, is_transfer=is_transfer, on_slot=connection.on_slot)
        if isinstance(taken, Slot):
            return taken
        connection.waiting = taken
        raise WaitsForSlot

    def take_in_turn(self, name: str, *, owner: str, is_transfer: bool) -> Slot:
        """A slot as by `take`, for which the call waits up to WAIT_SECONDS if not too many wait already."""
        until, ticket = time.monotonic() + WAIT_SECONDS, object()
        with self.lock:
            queue = self.waiting.setdefault((owner, is_transfer), deque())
            may_wait = (
                len(queue) < MOST_THREADS_EACH and sum(map(len, self.waiting.values())) < MOST_WAITING_THREADS
            )
            queue.append(ticket)
            try:
                while may_wait and (left := until - time.monotonic()) > 0:
                    if queue[0] is ticket and (slot := self.take_if_free(name, owner, is_transfer)):
                        return slot
                    self.lock.wait(left)
                return self.take(name, owner=owner, is_transfer=is_transfer)
            finally:
                queue.remove(ticket)
                if not queue:
                    del self.waiting[owner, is_transfer]
                self.lock.notify_all()

    def take_or_wait(
        self, name: str, *, owner: str, is_transfer: bool, on_slot: Callable[[Slot], None]
    ) -> Slot | WaitingCall:
        """A slot, or a place in the queue of calls that the server holds without a thread: `on_slot` then gets the
        slot. Raises Refusal (429) if too many wait."""
        line = Line(name, owner, is_transfer)
        with self.lock:
            if line not in self.queue.lines and (slot := self.take_if_free(*line)):
                return slot
            waiting = self.queue.join(line, on_slot, self.leave)
        if waiting is None:
            return self.take(name, owner=owner, is_transfer=is_transfer)
        QUEUED[is_transfer].inc()
        return waiting

    def leave(self, waiting: WaitingCall) -> bool:
        """Take a call out of the queue; whether it still waited."""
        with self.lock:
            has_waited = self.queue.leave(waiting)
        if has_waited:
            QUEUED[waiting.line.is_transfer].dec()
        return has_waited

    def grant_freed(self, freed: Slot) -> Iterator[tuple[WaitingCall, Slot]]:
        """Give the slot of a call that ended to one that the server holds. Where a transfer ended, a call and a
        transfer may each get one: the limits of transfers are others."""
        while granted := self.queue.grant_next(lambda line: self.take_if_free(*line)):
            yield granted
            if not freed.is_transfer:
                return

    def take_if_free(self, name: str, owner: str, is_transfer: bool) -> Slot | None:
        with self.lock:
            if self.find_full_limit(name, owner, is_transfer):
                return None
            return self.take(name, owner=owner, is_transfer=is_transfer)

    def find_full_limit(self, name: str, owner: str, is_transfer: bool) -> FullLimit | None:
        """The limit that leaves a call without a slot; None if it can have one."""
        for held, most, most_transfers in (
            (self.taken.get(name, NO_SLOTS), self.most_each, self.most_transfers_each),
            (self.owned.get(owner, NO_SLOTS), self.most_owners, self.most_transfers_owners),
        ):
            if len(held) >= most:
                return FullLimit(held, "calls")
            if is_transfer and sum(slot.is_transfer for slot in held) >= most_transfers:
                return FullLimit([slot for slot in held if slot.is_transfer], "artifact transfers")
        if self.count >= self.most or (is_transfer and self.transfers >= self.most_transfers):
            return EVERYBODYS
        return None

    def take(self, name: str, *, owner: str, is_transfer: bool) -> Slot:
        """A slot for a call with the key `name` of the user `owner`. Raises Refusal (429) if none is free."""
        with self.lock:
            limit = self.find_full_limit(name, owner, is_transfer)
            if limit is EVERYBODYS:
                raise not_sent(
                    "portal_busy",
                    "The portal is busy with other calls. Try again in a few seconds.",
                )
            if limit:
                raise too_many(limit, again=self.note_refusal(owner))
            slot = Slot(self, name, owner, is_transfer)
            self.taken.setdefault(name, set()).add(slot)
            self.owned.setdefault(owner, set()).add(slot)
            self.count += 1
            self.transfers += is_transfer
            if not is_transfer:
                if self.last[0] != name:
                    self.last_other = self.last
                self.last = (name, slot.since)
                PROCESSOR.note(owner)
        GAUGES[is_transfer].inc()
        return slot

    def note_refusal(self, owner: str) -> int:
        """How many calls of this user have been refused within REFUSED_SECONDS before this one."""
        now = time.monotonic()
        times = self.refused.setdefault(owner, deque(maxlen=MOST_REFUSED))
        while times and times[0] < now - REFUSED_SECONDS:
            times.popleft()
        times.append(now)
        return len(times) - 1

    def others_call(self, name: str) -> bool:
        """Whether somebody else made a call, not a transfer, within RECENT_SECONDS."""
        _, at = self.last if self.last[0] != name else self.last_other
        return time.monotonic() - at < RECENT_SECONDS

    def release(self, slot: Slot) -> None:
        """Free the slot of a call that ended; a second release does nothing."""
        with self.lock:
            if slot not in self.taken.get(slot.name, ()):
                return
            for held, name in ((self.taken, slot.name), (self.owned, slot.owner)):
                held[name].remove(slot)
                if not held[name]:
                    del held[name]
                    self.refused.pop(name, None)
            self.count -= 1
            self.transfers -= slot.is_transfer
            granted = list(self.grant_freed(slot))
            self.lock.notify_all()
        GAUGES[slot.is_transfer].dec()
        for waiting, own in granted:
            QUEUED[own.is_transfer].dec()
            waiting.on_slot(own)


def too_many(limit: FullLimit, *, again: int) -> Refusal:
    """Suggests a wait as long as the caller's calls have taken so far, because small files end sooner than large ones,
    and longer if `again` other calls of the same user will also come again: MLflow's client gives up after seven
    retries."""
    own, now = limit.slots, time.monotonic()
    age = sum(now - slot.since for slot in own) / len(own)
    return not_sent(
        "too_many_in_flight",
        f"{len(own)} {limit.what} of yours are in flight, which is the limit for one caller with all keys together. "
        "Try again when one has ended.",
        retry_after=min(MOST_RETRY_SECONDS, max(1, round(age)) + again // len(own)),
    )


def from_settings() -> Slots:
    transfers = max(1, settings.MAX_IN_FLIGHT * 3 // 4)
    return Slots(
        most=settings.MAX_IN_FLIGHT,
        most_each=settings.MAX_IN_FLIGHT_PER_KEY,
        most_transfers=transfers,
        most_transfers_each=max(1, min(settings.MAX_IN_FLIGHT_PER_KEY, transfers // 2)),
        most_owners=max(settings.MAX_IN_FLIGHT_PER_KEY, settings.MAX_IN_FLIGHT // 2),
        most_transfers_owners=max(1, transfers // 2),
    )
