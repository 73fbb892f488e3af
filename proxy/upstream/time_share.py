"""Limits the time for which one user occupies what all users share, while others use it too.

Used for MLflow (`proxy.upstream.fair_queue`) and for the processor of this process (PROCESSOR). Pure, apart from the
clock.
"""

import math
import threading
import time
from collections.abc import Callable

RECENT_SECONDS = 1.0  # for which a user counts as active after a call
MOST_USERS = 1000  # of whom it remembers their use before it forgets those who have rested

Clock = Callable[[], float]


class TimeShare:
    """While others are active, a user may use the resource for this `share` of the time, and must rest in between.

    `burst` seconds of use need no rest, so that somebody who calls now and then never waits. Use is free while nobody
    else is active. A user rests for at most `longest` seconds at a time. Thread-safe.
    """

    def __init__(
        self,
        *,
        share: float = math.inf,
        burst: float = 0.0,
        longest: float = 0.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self.share, self.burst, self.longest = share, burst, longest
        self.clock = clock
        self.lock = threading.Lock()
        self.rested_at: dict[str, float] = {}  # when each user has rested for all use so far
        self.paused_at: dict[str, float] = {}  # when each user has rested for as long as the last use took
        self.last: tuple[str, float] = ("", float("-inf"))  # the last user who was active, and when
        self.last_other: tuple[str, float] = ("", float("-inf"))  # the last one before that was another

    def note(self, user: str) -> None:
        """Note that the user is active now."""
        with self.lock:
            if self.last[0] != user:
                self.last_other = self.last
            self.last = (user, self.clock())

    def has_others(self, user: str) -> bool:
        """Whether another user was active within RECENT_SECONDS."""
        last, last_other = self.last, self.last_other
        _, at = last if last[0] != user else last_other
        return self.clock() - at <= RECENT_SECONDS

    def charge(self, user: str, seconds: float) -> None:
        """The user has used the resource for so long."""
        if not self.has_others(user):
            return
        with self.lock:
            now = self.clock()
            if len(self.rested_at) >= MOST_USERS:
                self.rested_at = {name: at for name, at in self.rested_at.items() if at > now}
                self.paused_at = {name: at for name, at in self.paused_at.items() if at > now}
            at = max(self.rested_at.get(user, now), now) + seconds / self.share
            self.rested_at[user] = min(at, now + self.burst / self.share + self.longest)
            self.paused_at[user] = now + min(seconds, self.longest)

    def seconds_to_rest(self, user: str, *, is_overdue: bool = False) -> float:
        """For how long the user must not use the resource from now on; 0 if nobody else is active. `is_overdue`: the
        user has waited so long that the rest is at most as long as the last use."""
        at = self.rested_at.get(user)
        if at is None:
            return 0.0
        now = self.clock()
        left = at - self.burst / self.share - now
        if is_overdue:
            left = min(left, self.paused_at.get(user, now) - now)
        return left if left > 0 and self.has_others(user) else 0.0


# A user has a tenth of one processor for what does not wait for MLflow: refusals, pages, the API, exports, and large
# bodies. All threads of a process share one interpreter, and each of these would keep taking it from others' calls.
PROCESSOR = TimeShare(share=0.1, burst=0.5, longest=5.0)
