"""Limits the pages, calls of the management API and exports that are served at once, for each user and in total, so
that nobody can occupy every thread.

Counted for each process, because the threads of one process are shared. Pages and API calls wait in a queue for a
short time, because people open several tabs and programs call in parallel. Exports do not wait: they take long.

Not in `keys.limits`, which needs Django's models: the server reads THREADS before Django has loaded them.
"""

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from django.db import close_old_connections

from keys.refusals import unavailable

MAX_PAGES, MAX_PAGES_EACH = 4, 2  # served at once
MAX_WAITING, MAX_WAITING_EACH = 16, 8
WAIT_SECONDS = 10.0
MAX_EXPORTS, MAX_EXPORTS_EACH = 4, 2
# Threads in addition to THREADS, so that pages and exports take none from forwarded calls.
THREADS = MAX_WAITING + MAX_EXPORTS


@dataclass(eq=False)
class PageSlot:
    """A slot that a user holds until it is released."""

    slots: "PageSlots"
    user: str
    is_held: bool = True

    def release(self) -> None:
        """Free the slot; a second release does nothing."""
        self.slots.release(self)


@dataclass(kw_only=True)
class PageSlots:
    """The slots of one kind. Thread-safe."""

    most: int
    most_each: int
    most_waiting: int = 0
    most_waiting_each: int = 0
    changed: Any = field(default_factory=threading.Condition)
    held: Counter[str] = field(default_factory=Counter)  # by user
    waiting: Counter[str] = field(default_factory=Counter)

    def take(self, user: str) -> PageSlot | None:
        """A slot for the user with this id, None if none became free in time or too many wait for one."""
        with self.changed:
            if self.is_free(user):
                return self.occupy(user)
            if self.waiting[user] >= self.most_waiting_each or self.waiting.total() >= self.most_waiting:
                return None
            self.waiting[user] += 1
        close_old_connections()  # others may use the PostgreSQL connection meanwhile
        with self.changed:
            try:
                is_free = self.changed.wait_for(lambda: self.is_free(user), WAIT_SECONDS)
                return self.occupy(user) if is_free else None
            finally:
                self.waiting[user] -= 1
                self.waiting = +self.waiting

    def is_free(self, user: str) -> bool:
        return self.held.total() < self.most and self.held[user] < self.most_each

    def occupy(self, user: str) -> PageSlot:
        self.held[user] += 1
        return PageSlot(self, user)

    def release(self, slot: PageSlot) -> None:
        with self.changed:
            if slot.is_held:
                slot.is_held = False
                self.held[slot.user] -= 1
                self.held = +self.held
                self.changed.notify_all()


pages = PageSlots(
    most=MAX_PAGES, most_each=MAX_PAGES_EACH, most_waiting=MAX_WAITING, most_waiting_each=MAX_WAITING_EACH
)
exports = PageSlots(most=MAX_EXPORTS, most_each=MAX_EXPORTS_EACH)


def take_page_slot(user: str) -> PageSlot:
    """A slot for a page or a call of the management API. Raises Refusal (503)."""
    if slot := pages.take(user):
        return slot
    raise unavailable(
        "too_many_pages",
        "Too many pages or calls of the management API are running for you, or for all users together. "
        "Try again in a few seconds, and run fewer at once.",
    )


def take_export_slot(user: str) -> PageSlot:
    """A slot for an export. Raises Refusal (503)."""
    if slot := exports.take(user):
        return slot
    raise unavailable(
        "too_many_exports",
        f"You can download {MAX_EXPORTS_EACH} exports at once, and all users together {MAX_EXPORTS}. "
        "Try again when one has ended.",
        retry_after=30,
    )
