"""Calls that wait for a slot without a thread, in turn and fairly between keys (`proxy.upstream.in_flight`). Pure."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

LONGEST_WAIT = 10.0  # seconds; then the call is refused
MOST_WAITING, MOST_WAITING_EACH = 256, 128  # calls of a process, and of one key; the same again for transfers


class Line(NamedTuple):
    """Whose calls wait in it: those of a key and its user, transfers apart."""

    key: str
    user: str
    is_transfer: bool


class WaitsForSlot(BaseException):
    """No slot is free: the server holds the request and serves it again when it has one. Not an error, and no handler
    of errors may turn it into a response."""


@dataclass(eq=False)
class WaitingCall:
    """One call. `on_slot` is called with its slot, by the thread that released it, so it must not block. `leaves` takes
    it out of the queue."""

    line: Line
    on_slot: Callable[[Any], None]
    leaves: Callable[["WaitingCall"], bool]
    since: float = field(default_factory=time.monotonic)

    def leave(self) -> bool:
        """Leave the queue; whether the call still waited, and gets no slot any more."""
        return self.leaves(self)


@dataclass
class SlotQueue:
    """The waiting calls by key. Its owner's lock protects it."""

    most: int = MOST_WAITING
    most_each: int = MOST_WAITING_EACH
    lines: OrderedDict[Line, deque[WaitingCall]] = field(default_factory=OrderedDict)
    counts: dict[bool, int] = field(default_factory=lambda: {False: 0, True: 0})  # of calls, and of transfers

    def join(
        self, line: Line, on_slot: Callable[[Any], None], leaves: Callable[[WaitingCall], bool]
    ) -> WaitingCall | None:
        """Queue a call; None if too many wait."""
        length = len(self.lines.get(line, ()))
        if length >= self.most_each or self.counts[line.is_transfer] >= self.most:
            return None
        waiting = WaitingCall(line, on_slot, leaves)
        self.lines.setdefault(line, deque()).append(waiting)
        self.counts[line.is_transfer] += 1
        return waiting

    def leave(self, waiting: WaitingCall) -> bool:
        """Whether the call still waited."""
        line = self.lines.get(waiting.line, deque())
        if waiting not in line:
            return False
        line.remove(waiting)
        self.counts[waiting.line.is_transfer] -= 1
        if not line:
            del self.lines[waiting.line]
        return True

    def grant_next(self, take: Callable[[Line], Any]) -> tuple[WaitingCall, Any] | None:
        """The first call of the first line for which `take` returns a slot, and that slot. The line goes to the end of
        the row."""
        for line in self.lines:
            if slot := take(line):
                waiting = self.lines[line].popleft()
                self.counts[line.is_transfer] -= 1
                self.lines.move_to_end(line)
                if not self.lines[line]:
                    del self.lines[line]
                return waiting, slot
        return None
