"""A part of a run that may end without ending the others: it is started again, ever more slowly."""

import time
from collections.abc import Callable

from portal.one_machine.console import warn
from portal.one_machine.supervisor import Child

LONGEST_SECONDS = 60.0


class Restarts:
    """Starts a part again 1, 2, 4 … 60 seconds after it ended; after 1 again once it ran for a minute.

    ``current`` gives the part's process, the latest one if there were several.
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
        self.due: float | None = None  # when it is started again; None: it runs

    def look(self) -> None:
        """Once a moment: do what there is to do. Raises StartError if the part cannot be started."""
        child = self.current()
        if child is None or child.exit_status() is None:
            return
        if self.due is None:
            self.put_off(child)
        elif self.clock() >= self.due:
            self.restart()
            self.due, self.started = None, self.clock()

    def put_off(self, child: Child) -> None:
        if self.clock() - self.started > LONGEST_SECONDS:
            self.count = 0
        delay = min(2.0**self.count, LONGEST_SECONDS)
        self.count += 1
        self.due = self.clock() + delay
        warn(f"{self.name} ended; it is started again in {delay:.0f} s. See {child.log}")
        child.stop()  # whatever of it is left
