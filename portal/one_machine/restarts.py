"""Restarts a part of `make run` that ended, with growing delays."""

import time
from collections.abc import Callable

from portal.one_machine.console import warn
from portal.one_machine.supervisor import Child

LONGEST_SECONDS = 60.0


class Restarts:
    """Restarts a part 1, 2, 4 … 60 seconds after it ended; after 1 second again once it has run for a minute.

    ``current`` returns the part's latest process.
    """

    def __init__(
        self,
        name: str,
        *,
        current: Callable[[], Child | None],
        restart: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.current, self.restart, self.clock = name, current, restart, clock
        self.count = 0  # restarts that did not last
        self.started = clock()
        self.due: float | None = None  # when to restart; None: it runs

    def check(self) -> None:
        """Restart the part if it ended and the delay is over. Raises StartError if that fails."""
        child = self.current()
        if child is None or child.exit_status() is None:
            return
        if self.due is None:
            self.schedule(child)
        elif self.clock() >= self.due:
            self.restart()
            self.due, self.started = None, self.clock()

    def schedule(self, child: Child) -> None:
        if self.clock() - self.started > LONGEST_SECONDS:
            self.count = 0
        delay = min(2.0**self.count, LONGEST_SECONDS)
        self.count += 1
        self.due = self.clock() + delay
        warn(f"{self.name} ended; it is restarted in {delay:.0f} s. See {child.log}")
        child.stop()  # its remaining processes
