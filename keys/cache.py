"""Keys that this process has seen lately, so that a call costs no query, and how changes reach it at once.

PostgreSQL announces every change of a key or a user (triggers in `keys.models`); one thread per process
listens. An entry is trusted for TRUST_SECONDS while that thread heard from PostgreSQL within the last second,
otherwise for one second. When PostgreSQL is away a key that was good goes on for OUTAGE_SECONDS: nobody can
revoke one then either.
"""

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from django.db import DatabaseError, InterfaceError, connection

from keys.models import CHANNEL, ApiKey

logger = logging.getLogger(__name__)

TRUST_SECONDS = 30.0
UNHEARD_SECONDS = 1.0  # how long an entry is good without PostgreSQL's word, and how old that word may be
HEARTBEAT_SECONDS = 0.3
OUTAGE_SECONDS = 15 * 60.0
SIZE = 10_000  # entries; the least recently used goes first


@dataclass(frozen=True, kw_only=True)
class Entry:
    key: ApiKey
    fetched: float


class Known:
    """The keys in memory, by the digest of the secret that was shown. Thread-safe."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.lock = threading.Lock()
        self.entries: OrderedDict[str, Entry] = OrderedDict()
        self.heard = float("-inf")
        self.generation = 0
        self.failed = float("-inf")

    def get(self, digest: str, fetch: Callable[[], ApiKey | None]) -> ApiKey | None:
        """The key behind `digest`, from memory if that can be trusted, else from `fetch`.

        Only keys that exist are kept, so that random ones cannot fill the memory. Raises what `fetch` raises
        if PostgreSQL is away and the key is not known.
        """
        now = self.clock()
        entry = self.entries.get(digest)
        if entry is not None and self.is_trusted(entry, now):
            return entry.key
        if entry is not None and now - self.failed < UNHEARD_SECONDS:
            return self.during_outage(entry, now)
        generation = self.generation
        try:
            key = fetch()
        except (DatabaseError, InterfaceError):
            self.failed = self.clock()
            if entry is None:
                raise
            return self.during_outage(entry, now)
        with self.lock:
            # What was announced while we asked may be newer than the answer: use it once, keep it not.
            if key is not None and generation == self.generation:
                self.entries[digest] = Entry(key=key, fetched=now)
                self.entries.move_to_end(digest)
                while len(self.entries) > SIZE:
                    self.entries.popitem(last=False)
            elif key is None:
                self.entries.pop(digest, None)
        return key

    def is_trusted(self, entry: Entry, now: float) -> bool:
        age = now - entry.fetched
        return age < (TRUST_SECONDS if now - self.heard < UNHEARD_SECONDS else UNHEARD_SECONDS)

    def during_outage(self, entry: Entry, now: float) -> ApiKey:
        if now - entry.fetched > OUTAGE_SECONDS:
            raise DatabaseError("PostgreSQL has been away for too long to go on with what was known")
        return entry.key

    def hear(self) -> None:
        """PostgreSQL answered just now: every change before this moment has been announced."""
        self.heard = self.clock()

    def forget(self, kind: str, number: str) -> None:
        """Drop what a change of `key:ID` or `user:ID` makes old."""
        with self.lock:
            self.generation += 1
            for digest, entry in list(self.entries.items()):
                if number == str(entry.key.pk if kind == "key" else entry.key.owner_id):
                    del self.entries[digest]

    def suspect_all(self) -> None:
        """Listening has begun anew: ask again for each key before trusting it, unless PostgreSQL is away."""
        with self.lock:
            self.generation += 1
            self.entries = OrderedDict(
                (digest, Entry(key=entry.key, fetched=entry.fetched - TRUST_SECONDS))
                for digest, entry in self.entries.items()
            )


known = Known()
Hearer = Callable[[str, str], None]
hearers: list[Hearer] = [known.forget]  # called with the kind and the number or name of what changed


class Listener(threading.Thread):
    """Listens for changes as long as the process lives; connects again when the connection is gone."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        super().__init__(name="key-changes", daemon=True)
        self.parameters = parameters
        self.pid = os.getpid()

    def run(self) -> None:
        while True:
            try:
                self.listen()
            except (psycopg.Error, OSError) as error:
                logger.warning("listener_lost error=%s", type(error).__name__)
            time.sleep(HEARTBEAT_SECONDS)

    def listen(self) -> None:
        with psycopg.connect(**self.parameters, autocommit=True) as listening:
            listening.execute("SET application_name = 'hokusai-listener'")
            listening.execute(f"LISTEN {CHANNEL}")
            known.suspect_all()
            while True:
                for notice in listening.notifies(timeout=HEARTBEAT_SECONDS):
                    announce(notice.payload)
                listening.execute("SELECT 1")
                known.hear()


def announce(payload: str) -> None:
    """Pass on what PostgreSQL said: `key:12`, `user:3`, …"""
    kind, _, name = payload.partition(":")
    for hearer in hearers:
        hearer(kind, name)


_starting = threading.Lock()
_listener: Listener | None = None


def listen() -> None:
    """Start this process's listener, once; after a fork the child starts its own."""
    global _listener  # noqa: PLW0603
    if _listener is not None and _listener.pid == os.getpid():
        return
    with _starting:
        if _listener is None or _listener.pid != os.getpid():
            parameters = connection.get_connection_params()
            for django_only in ("pool", "cursor_factory", "context", "prepare_threshold"):
                parameters.pop(django_only, None)
            _listener = Listener(parameters)
            _listener.start()
