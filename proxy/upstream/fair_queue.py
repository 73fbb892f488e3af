"""Calls wait in turn for MLflow, fairly between users, so that a busy caller does not slow the others down.

MLflow works on a few calls at a time; the rest would wait inside it, where the portal cannot tell a caller with one
call from a caller with a hundred. So the portal sends only as many JSON calls as MLflow can work on, and picks the
next one from a different user each time. While others are active, a user has one call there, or few, and rests after
each in proportion to the time that it took (`proxy.upstream.time_share`): a slow search slows every other call down
for as long as it runs, because the threads of an MLflow process share one interpreter. A call that has waited for long
rests only as long as its user's last call took: otherwise the last of many programs that start together would be
refused. Artifact transfers do not wait here.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from django.conf import settings
from prometheus_client import Gauge

from keys.refusals import Refusal, not_sent
from proxy.upstream.time_share import RECENT_SECONDS, Clock, TimeShare

LONGEST_WAIT = 10.0  # seconds; then the call is refused without having been sent
# While others are active, one user's calls take this share of the time of one MLflow process, which works well on so
# many calls at once (see MLFLOW_CONCURRENCY).
SHARE, CALLS_AT_ONCE = 0.25, 3
BURST, LONGEST_REST = 0.5, 5.0  # seconds
OVERDUE_SECONDS = 4.0  # of waiting for a slot and a turn, after which a call rests for less
FREE_SECONDS = 0.1  # so long a call is free if its user makes one at a time

WAITING = Gauge(
    "hokusai_calls_waiting", "Calls that wait for their turn at MLflow.", multiprocess_mode="livesum"
)


def waited_too_long() -> Refusal:
    return not_sent(
        "portal_busy",
        "Too many other calls are waiting for MLflow. This call was not sent. Try again in a few seconds.",
    )


@dataclass(eq=False)
class Turn:
    """One call. `woken` is set when it should look again: it may go, or its user has ended another call."""

    queue: "FairQueue"
    user: str
    is_search: bool = False
    is_granted: bool = False
    started: float = 0.0  # by the queue's clock
    woken: threading.Event | None = None  # only of a call that waits
    overdue_at: float = float("inf")  # on the monotonic clock

    @property
    def line(self) -> "Line":
        return self.user, self.is_search

    def __enter__(self) -> None:
        self.queue.begin(self)

    def __exit__(self, *error: object) -> None:
        self.queue.end(self)

    def wake(self) -> None:
        if self.woken:
            self.woken.set()


Line = tuple[str, bool]  # a user, and whether the calls are searches: calls of one line stay in order


class FairQueue:
    """At most `capacity` calls at once; of one user at most half while others are active, and never more than
    `most_each`. Of searches, the same for `most_searches`, which leaves the rest to other calls. Thread-safe.

    Waiting users take turns, and a user with one call waits for at most one call of each other user. Each call is
    charged to the `share` for the time that it took by `clock`, and its user's next calls wait until the user has
    rested. Calls that a user makes one at a time are free up to `free_seconds`: whoever waits for each call limits
    itself.
    """

    def __init__(
        self,
        capacity: int,
        *,
        most_each: int | None = None,
        most_searches: int | None = None,
        longest_wait: float = LONGEST_WAIT,
        refusal: Callable[[], Refusal] = waited_too_long,
        share: TimeShare | None = None,
        free_seconds: float = 0.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self.capacity, self.most_each = capacity, most_each or capacity
        self.most_searches = most_searches or capacity
        self.longest_wait = longest_wait
        self.refusal = refusal
        self.share = share or TimeShare()
        self.free_seconds = free_seconds
        self.clock = clock
        self.lock = threading.Lock()
        self.running: dict[Line, int] = {}
        self.waiting: OrderedDict[Line, deque[Turn]] = OrderedDict()

    def turn(self, user: str, *, is_search: bool = False, waited: float = 0.0) -> "Turn":
        """A context that begins when the call may be sent. Beginning raises Refusal (429) after `longest_wait`
        seconds. `waited`: the seconds that the call has waited before."""
        return Turn(self, user, is_search, overdue_at=time.monotonic() + OVERDUE_SECONDS - waited)

    def begin(self, turn: "Turn") -> None:
        with self.lock:
            self.share.note(turn.user)
            if not self.waiting and sum(self.running.values()) < self.capacity and self.has_room(*turn.line):
                self.start(turn)
            else:
                self.waiting.setdefault(turn.line, deque()).append(turn)
                self.grant()
            if not turn.is_granted:
                turn.woken = threading.Event()
        try:
            if turn.woken:
                with WAITING.track_inprogress():
                    self.wait(turn, turn.woken)
                self.withdraw_unless_granted(turn)
        except BaseException:
            self.end(turn)
            raise
        turn.started = self.clock()

    def wait(self, turn: Turn, woken: threading.Event) -> None:
        """Waits for the turn, at most `longest_wait` seconds.

        Looks again now and then, because a user's share grows when the others have been quiet for RECENT_SECONDS.
        """
        deadline = time.monotonic() + self.longest_wait
        while True:
            with self.lock:
                self.grant()
                left = deadline - time.monotonic()
                if turn.is_granted or left <= 0:
                    return
                pause = min(left, self.seconds_until_change(turn))
            woken.wait(pause)
            woken.clear()

    def seconds_until_change(self, turn: Turn) -> float:
        """After how long to look again if no call ends. Only the first of a line waits for the end of its user's rest,
        so that not all of them wake up then."""
        if self.waiting[turn.line][0] is not turn:
            return RECENT_SECONDS
        until_overdue = turn.overdue_at - time.monotonic()
        rest = self.share.seconds_to_rest(turn.user, is_overdue=until_overdue <= 0)
        return min(rest, until_overdue if until_overdue > 0 else rest, RECENT_SECONDS) or RECENT_SECONDS

    def withdraw_unless_granted(self, turn: Turn) -> None:
        with self.lock:
            if turn.is_granted:
                return
            self.waiting[turn.line].remove(turn)
            if not self.waiting[turn.line]:
                del self.waiting[turn.line]
        raise self.refusal()

    def end(self, turn: Turn) -> None:
        with self.lock:
            if not turn.is_granted:
                return
            for user, _ in self.running:
                self.share.note(user)  # a user is active for as long as a call runs
            self.running[turn.line] -= 1
            if not self.running[turn.line]:
                del self.running[turn.line]
            seconds = self.clock() - turn.started
            if seconds > self.free_seconds or self.has_more(turn.user):
                self.share.charge(turn.user, seconds)
            self.grant()
            for line in ((turn.user, False), (turn.user, True)):
                if line in self.waiting:
                    self.waiting[line][0].wake()

    def has_more(self, user: str) -> bool:
        """Whether the user has another call under way, or waiting."""
        lines = ((user, False), (user, True))
        return any(line in self.running or line in self.waiting for line in lines)

    def grant(self) -> None:
        """Let as many waiting calls go as fit; the user who got a turn goes to the end of the row."""
        while sum(self.running.values()) < self.capacity:
            now = time.monotonic()
            lines = self.waiting.items()
            line = next(
                (
                    line
                    for line, turns in lines
                    if self.has_room(*line, is_overdue=turns[0].overdue_at <= now)
                ),
                None,
            )
            if line is None:
                return
            turn = self.waiting[line].popleft()
            self.waiting.move_to_end(line)
            if not self.waiting[line]:
                del self.waiting[line]
            self.start(turn)
            turn.wake()

    def start(self, turn: "Turn") -> None:
        self.running[turn.line] = self.running.get(turn.line, 0) + 1
        turn.is_granted = True

    def has_room(self, user: str, is_search: bool, *, is_overdue: bool = False) -> bool:
        if self.share.seconds_to_rest(user, is_overdue=is_overdue):
            return False
        has_others = self.has_others(user)
        own = self.running.get((user, False), 0) + self.running.get((user, True), 0)
        if own >= self.most_of_one(self.capacity, self.most_each, has_others=has_others):
            return False
        if not is_search or self.most_searches == self.capacity:
            return True
        searches = sum(count for (_, is_search), count in self.running.items() if is_search)
        most_each = max(1, self.most_searches - 1)
        most = self.most_of_one(self.most_searches, most_each, has_others=has_others)
        return searches < self.most_searches and self.running.get((user, True), 0) < most

    @staticmethod
    def most_of_one(capacity: int, most_each: int, *, has_others: bool) -> int:
        return min(max(1, capacity // 2), most_each) if has_others else most_each

    def has_others(self, user: str) -> bool:
        """Whether another user has called within RECENT_SECONDS, or has a call under way."""
        if any(other != user for other, _ in self.running) or any(other != user for other, _ in self.waiting):
            return True
        return self.share.has_others(user)


@cache
def calls(url: str) -> FairQueue:
    """The queue of all JSON calls to the MLflow at `url`, one for each process.

    One user never has every turn: MLflow works on a large trace for 20 s and longer, and the call of a user who comes
    meanwhile would be refused. However many searches wait, half of the capacity is left to other calls.
    """
    capacity = settings.MLFLOW_CONCURRENCY
    return FairQueue(
        capacity,
        most_each=max(1, capacity - 1),
        most_searches=(capacity + 1) // 2,
        share=TimeShare(share=SHARE * capacity / CALLS_AT_ONCE, burst=BURST, longest=LONGEST_REST),
        free_seconds=FREE_SECONDS,
    )
