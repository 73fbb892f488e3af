"""The keys that this process used recently, so that a call needs no query, and the listener that invalidates them.

Triggers in PostgreSQL (`keys.models`) announce every change of a key or a user; one thread per process listens. An
entry is trusted for TRUST_SECONDS while the thread has heard from PostgreSQL within the last second, otherwise for
one second. Behind a pooler in transaction mode, PostgreSQL responds but its notifications do not arrive, so the thread
verifies each connection with a notification of its own. During an outage of PostgreSQL, a known key keeps working for
OUTAGE_SECONDS: nobody can revoke a key then either.
"""

import logging
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import psycopg
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from keys.database import (
    connection_parameters,
    discard_dead_connections,
    holds_connection,
    session_parameters,
)
from keys.models import CHANNEL, ApiKey

logger = logging.getLogger(__name__)

TRUST_SECONDS = 30.0
UNHEARD_SECONDS = (
    1.0  # trust in an entry while PostgreSQL is silent; also the silence that counts as an outage
)
HEARTBEAT_SECONDS = 0.3
VERIFY_SECONDS = 2.0  # for the listener's own notification to arrive
DEAF_ADVICE = (
    "PostgreSQL's notifications do not arrive: DATABASE_URL probably leads through a pooler in transaction mode. "
    "Changes of keys still take effect within a second, at the cost of a query per key and second, and each process "
    "makes one registry write at a time. Set DATABASE_LISTEN_URL to the direct address of the same database, or "
    "use a pool in session mode."
)
FETCH_WAIT_SECONDS = 0.2  # for PostgreSQL's response, if a remembered value can be used instead
OUTAGE_SECONDS = 15 * 60.0
SIZE = 10_000  # entries; the oldest is dropped first


class Pulse:
    """When the listener last heard from PostgreSQL. It has received every change made before that time."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.heard = float("-inf")
        self.has_listener = False
        self.is_deaf = False  # PostgreSQL responds, but its notifications do not arrive

    def beat(self) -> None:
        self.heard = self.clock()

    def lose(self) -> None:
        """Record at once that the connection to PostgreSQL is lost, instead of waiting for UNHEARD_SECONDS."""
        self.heard = min(self.heard, self.clock() - UNHEARD_SECONDS)

    @property
    def is_steady(self) -> bool:
        return self.clock() - self.heard < UNHEARD_SECONDS

    @property
    def trust_seconds(self) -> float:
        """How long an entry may be used without asking PostgreSQL."""
        return TRUST_SECONDS if self.is_steady and not self.is_deaf else UNHEARD_SECONDS


pulse = Pulse()
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Entry(Generic[Value]):
    value: Value
    fetched: float


class RowCache(Generic[Value]):
    """Rows in memory by name. Names without a row are not stored, so that random names cannot fill it. Thread-safe."""

    def __init__(self, *, pulse: Pulse = pulse, size: int = SIZE) -> None:
        self.pulse, self.clock, self.size = pulse, pulse.clock, size
        self.lock = threading.Lock()
        self.entries: OrderedDict[str, Entry[Value]] = OrderedDict()
        self.generation = 0
        self.failed = float("-inf")
        self.is_fetching = False

    def get(self, name: str, fetch: Callable[[], Value | None]) -> Value | None:
        """The value of `name`: from memory if the entry is trusted, otherwise from `fetch`.

        If PostgreSQL is unavailable and there is no entry, the error of `fetch` is raised.
        """
        now = self.clock()
        entry = self.entries.get(name)
        if entry is not None and self.is_trusted(entry, now):
            return entry.value
        if entry is not None and now - self.failed < UNHEARD_SECONDS:
            return self.value_during_outage(entry, now)
        if entry is not None and self.pulse.has_listener and not holds_connection():
            return self.fetch_in_thread(name, entry, fetch)
        return self.fetch_now(name, entry, fetch)

    def peek(self, name: str) -> Value | None:
        """The value in memory, if it may be used without asking PostgreSQL."""
        entry = self.entries.get(name)
        return entry.value if entry is not None and self.is_trusted(entry, self.clock()) else None

    def fetch_now(
        self, name: str, entry: Entry[Value] | None, fetch: Callable[[], Value | None]
    ) -> Value | None:
        now, generation = self.clock(), self.generation
        try:
            value = fetch()
        except (OperationalError, InterfaceError):
            self.failed = self.clock()
            if entry is None:
                raise
            return self.value_during_outage(entry, now)
        self.keep(name, value, fetched=now, generation=generation)
        return value

    def fetch_in_thread(
        self, name: str, entry: Entry[Value], fetch: Callable[[], Value | None]
    ) -> Value | None:
        """Fetch in a separate thread, so that no call waits for the pool's timeout. During an outage, one thread at a
        time fetches, and all calls use the remembered value."""
        with self.lock:
            if self.is_fetching and not self.pulse.is_steady:
                return self.value_during_outage(entry, self.clock())
            self.is_fetching = True
        fetched: Future[Value | None] = Future()

        def work() -> None:
            try:
                fetched.set_result(self.fetch_now(name, entry, fetch))
            except BaseException as error:
                fetched.set_exception(error)
            finally:
                self.is_fetching = False
                connection.close()

        threading.Thread(target=work, name="cache-fetch", daemon=True).start()
        while True:
            try:
                return fetched.result(FETCH_WAIT_SECONDS)
            except TimeoutError:
                if not self.pulse.is_steady:
                    return self.value_during_outage(entry, self.clock())

    def keep(self, name: str, value: Value | None, *, fetched: float, generation: int) -> None:
        """Store the value, unless a change was announced during the fetch: the value may then be out of date."""
        with self.lock:
            self.entries.pop(name, None)
            if value is not None and generation == self.generation:
                self.entries[name] = Entry(value=value, fetched=fetched)
                while len(self.entries) > self.size:
                    self.entries.popitem(last=False)

    def is_trusted(self, entry: Entry[Value], now: float) -> bool:
        return now - entry.fetched < self.pulse.trust_seconds

    def value_during_outage(self, entry: Entry[Value], now: float) -> Value:
        if now - entry.fetched > OUTAGE_SECONDS:
            raise DatabaseError("PostgreSQL has been unavailable for too long to use the remembered value")
        return entry.value

    def forget(self, is_changed: Callable[[str, Value], bool]) -> None:
        with self.lock:
            self.generation += 1
            for name, entry in list(self.entries.items()):
                if is_changed(name, entry.value):
                    del self.entries[name]

    def drop(self, name: str) -> None:
        with self.lock:
            self.generation += 1
            self.entries.pop(name, None)

    def distrust_all(self) -> None:
        """After a reconnect: fetch each value again before trusting it, unless PostgreSQL is unavailable."""
        with self.lock:
            self.generation += 1
            self.entries = OrderedDict(
                (name, Entry(value=entry.value, fetched=entry.fetched - TRUST_SECONDS))
                for name, entry in self.entries.items()
            )


key_cache: RowCache[ApiKey] = RowCache()
caches: list[RowCache[Any]] = [key_cache]


# The column of a key by which a notification of each kind names it.
REFERENCES = {"key": "pk", "user": "owner_id", "organisation": "organisation_id"}


def forget_key(kind: str, name: str) -> None:
    if kind in REFERENCES:
        key_cache.forget(lambda _, key: name == str(getattr(key, REFERENCES[kind])))
    elif kind == "exchanged":  # by its digest
        key_cache.drop(name)


# Called with the kind ("key", "user", …) and the id of each changed row.
change_listeners: list[Callable[[str, str], None]] = [forget_key]


class Listener(threading.Thread):
    """Listens for changes as long as the process runs, and reconnects when the connection is lost."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        super().__init__(name="key-changes", daemon=True)
        self.parameters = parameters
        self.pid = os.getpid()
        self.sent = ""  # the notification that verifies the connection, until it arrives

    def run(self) -> None:
        pulse.has_listener = True
        while True:
            try:
                self.listen()
            except (psycopg.Error, OSError) as error:
                pulse.lose()
                logger.warning("listener_lost", extra={"error": type(error).__name__})
            time.sleep(HEARTBEAT_SECONDS)

    def listen(self) -> None:
        named = {**self.parameters, "application_name": "hokusai-listener"}
        with psycopg.connect(**named, autocommit=True) as listening:
            listening.execute(f"LISTEN {CHANNEL}")
            self.verify(listening)
            discard_dead_connections()
            for cache in caches:
                cache.distrust_all()
            pulse.beat()
            while True:
                for notice in listening.notifies(timeout=HEARTBEAT_SECONDS):
                    self.on_notice(notice.payload)
                listening.execute("SELECT 1")
                pulse.beat()

    def verify(self, listening: psycopg.Connection[Any]) -> None:
        """Send a notification over another connection and wait for it. Over the same connection it would arrive behind
        a pooler too."""
        self.sent = f"listener:{secrets.token_hex(8)}"
        with psycopg.connect(**connection_parameters(), autocommit=True) as other:
            other.execute("SELECT pg_notify(%s, %s)", [CHANNEL, self.sent])
        end = time.monotonic() + VERIFY_SECONDS
        while self.sent and (left := end - time.monotonic()) > 0:
            for notice in listening.notifies(timeout=left, stop_after=1):
                self.on_notice(notice.payload)
        if self.sent:
            pulse.is_deaf = True
            logger.warning("listener_deaf", extra={"setting": "DATABASE_LISTEN_URL", "advice": DEAF_ADVICE})

    def on_notice(self, payload: str) -> None:
        if payload == self.sent:
            self.sent, pulse.is_deaf = "", False
        else:
            announce(payload)


def keeps_sessions() -> bool:
    """Whether a connection of DATABASE_URL keeps its session; behind a pooler in transaction mode it does not."""
    return not (pulse.is_deaf or settings.DATABASE_LISTEN_URL)


def announce(payload: str) -> None:
    """Pass a notification of PostgreSQL's to the listeners. `payload`: `key:12`, `user:3`, …"""
    kind, _, name = payload.partition(":")
    for listener in change_listeners:
        listener(kind, name)


_starting = threading.Lock()
_listener: Listener | None = None


def listen() -> None:
    """Start this process's listener once. After a fork, the child process starts its own."""
    global _listener
    if _listener is not None and _listener.pid == os.getpid():
        return
    with _starting:
        if _listener is None or _listener.pid != os.getpid():
            _listener = Listener(session_parameters())
            _listener.start()
