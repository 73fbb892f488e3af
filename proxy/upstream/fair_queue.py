"""Calls wait in turn for MLflow, fairly between users, so that a busy caller does not slow the others down.

MLflow works on a few calls at a time; the rest would wait inside it, where the portal cannot tell a caller with one
call from a caller with a hundred. So the portal sends only as many JSON calls as MLflow can work on, and picks the
next one from a different user each time. Artifact transfers do not wait here.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from django.conf import settings
from prometheus_client import Gauge

from keys.refusals import Refusal, unavailable

LONGEST_WAIT = 10.0  # seconds; then the call is refused without having been sent
RECENT_SECONDS = 1.0  # for which a user counts as active after a call

WAITING = Gauge(
    "hokusai_calls_waiting", "Calls that wait for their turn at MLflow.", multiprocess_mode="livesum"
)


def waited_too_long() -> Refusal:
    return unavailable(
        "portal_busy",
        "Too many other calls are waiting for MLflow. This call was not sent. Try again in a few seconds.",
    )


class Turn:
    """One waiting call; `granted` is set when it may go."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.granted = threading.Event()


class FairQueue:
    """At most `capacity` calls at once; of one user at most half while others are active, and never more than
    `most_each`. Thread-safe.

    Waiting users take turns: each user's calls stay in order, and a user with one call waits for at most one call
    of each other user.
    """

    def __init__(
        self,
        capacity: int,
        *,
        most_each: int | None = None,
        longest_wait: float = LONGEST_WAIT,
        refusal: Callable[[], Refusal] = waited_too_long,
    ) -> None:
        self.capacity, self.most_each = capacity, most_each or capacity
        self.longest_wait = longest_wait
        self.refusal = refusal
        self.lock = threading.Lock()
        self.running: dict[str, int] = {}
        self.waiting: OrderedDict[str, deque[Turn]] = OrderedDict()
        self.last_active: dict[str, float] = {}

    @contextmanager
    def turn(self, user: str) -> Iterator[None]:
        """Waits until the call may be sent. Raises Refusal (503) after `longest_wait` seconds."""
        turn = Turn(user)
        with self.lock:
            self.last_active[user] = time.monotonic()
            self.waiting.setdefault(user, deque()).append(turn)
            self.grant()
        try:
            if not turn.granted.is_set():
                with WAITING.track_inprogress():
                    self.wait(turn)
            self.withdraw_unless_granted(turn)
            yield
        finally:
            self.end(turn)

    def wait(self, turn: Turn) -> None:
        """Waits for the turn, at most `longest_wait` seconds.

        Looks again now and then, because a user's share grows when the others have been quiet for RECENT_SECONDS.
        """
        deadline = time.monotonic() + self.longest_wait
        while (left := deadline - time.monotonic()) > 0:
            if turn.granted.wait(min(left, RECENT_SECONDS)):
                return
            with self.lock:
                self.grant()

    def withdraw_unless_granted(self, turn: Turn) -> None:
        with self.lock:
            if turn.granted.is_set():
                return
            self.waiting[turn.user].remove(turn)
            if not self.waiting[turn.user]:
                del self.waiting[turn.user]
        raise self.refusal()

    def end(self, turn: Turn) -> None:
        with self.lock:
            if not turn.granted.is_set():
                return
            self.running[turn.user] -= 1
            if not self.running[turn.user]:
                del self.running[turn.user]
            self.last_active[turn.user] = time.monotonic()
            self.grant()

    def grant(self) -> None:
        """Let as many waiting calls go as fit; the user who got a turn goes to the end of the row."""
        while sum(self.running.values()) < self.capacity:
            user = next((user for user in self.waiting if self.has_room(user)), None)
            if user is None:
                return
            turn = self.waiting[user].popleft()
            self.waiting.move_to_end(user)
            if not self.waiting[user]:
                del self.waiting[user]
            self.running[user] = self.running.get(user, 0) + 1
            turn.granted.set()

    def has_room(self, user: str) -> bool:
        share = max(1, self.capacity // 2) if self.has_others(user) else self.capacity
        return self.running.get(user, 0) < min(share, self.most_each)

    def has_others(self, user: str) -> bool:
        """Whether another user has called within RECENT_SECONDS, or has a call under way."""
        if any(other != user for other in self.running) or any(other != user for other in self.waiting):
            return True
        now = time.monotonic()
        for other, at in list(self.last_active.items()):
            if now - at > RECENT_SECONDS:
                del self.last_active[other]
            elif other != user:
                return True
        return False


@cache
def calls(url: str) -> FairQueue:
    """The queue of all JSON calls to the MLflow at `url`, one for each process."""
    return with_reserve(settings.MLFLOW_CONCURRENCY)


@cache
def searches(url: str) -> FairQueue:
    """The queue of searches, which take turns here before they take turns among all calls: however many searches wait,
    the other half of the capacity is left to other calls."""
    return with_reserve((settings.MLFLOW_CONCURRENCY + 1) // 2)


def with_reserve(capacity: int) -> FairQueue:
    """A queue in which one user never has every turn: MLflow works on a large trace for 20 s and longer, and the call
    of a user who comes meanwhile would be refused."""
    return FairQueue(capacity, most_each=max(1, capacity - 1))


@contextmanager
def turn_at(url: str, user: str, *, is_search: bool) -> Iterator[None]:
    """Waits until the call of this user may be sent to the MLflow at `url`. Raises Refusal (503)."""
    if not is_search:
        with calls(url).turn(user):
            yield
        return
    with searches(url).turn(user), calls(url).turn(user):
        yield
