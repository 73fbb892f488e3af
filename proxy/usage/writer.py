"""From the spool to PostgreSQL: one thread for each process, batches by COPY, totals in the same transaction.

Each batch is a stretch of a spool segment, and its transaction moves the segment's row to the stretch's end:
committed or not, killed or not, there is no other way for a call to be taken over, so none is twice.
"""

import atexit
import datetime
import logging
import os
import threading
import time
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection as django_connection

from keys.credentials import cache
from proxy.usage import networks, partitions, recording, spool
from proxy.usage.attempts import Attempts
from proxy.usage.batches import Batch, make_batch, write
from proxy.usage.partitions import Connection
from proxy.usage.record import CallRecord
from proxy.usage.spool import Piece, Segment, Spool

logger = logging.getLogger(__name__)

INTERVAL = 0.5  # seconds between looks at the spool
RETRY_SECONDS = 0.5  # between attempts to reach PostgreSQL
SCAN_SECONDS = 1.0  # between looks for segments of processes that are gone
MAINTAIN_SECONDS = 3600.0
BATCH_BYTES = 512 * 1024  # of the spool; some 1,300 calls
USE_NOTED_SECONDS = 60.0
LEAVE_SECONDS = 10.0  # that a process waits at its end for its calls to be written; the rest is adopted
TIMEOUTS = {
    "connect_timeout": 3,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "hokusai-usage",
    "options": "-c statement_timeout=30s -c idle_in_transaction_session_timeout=30s",
}


class TakenOver(Exception):
    """Another process, or this one in a commit whose answer was lost, has moved the segment on."""


CLAIM = """
    INSERT INTO proxy_spoolsegment AS segment (name, taken) VALUES (%(name)s, %(end)s)
    ON CONFLICT (name) DO UPDATE SET taken = excluded.taken, at = now() WHERE segment.taken = %(start)s
    RETURNING 1
"""
ADD_ATTEMPTS = """
    INSERT INTO proxy_keylessattempt AS attempt (hour, reason, network, count) VALUES (%s, %s, %s, %s)
    ON CONFLICT (hour, reason, network) DO UPDATE SET count = attempt.count + excluded.count
"""
# `{1}` says whether the key was rotated since: a use is noted late, and then it was of the secret before.
NOTE_USE = """
    UPDATE keys_apikey SET {0}_at = %(at)s, {0}_address = %(address)s, {0}_client = %(client)s
    WHERE id = %(key)s AND ({0}_at IS NULL OR {0}_at < %(at)s) AND {1}
    EXISTS (SELECT FROM keys_keyevent WHERE key_id = %(key)s AND kind = 'rotated' AND at > %(at)s)
"""
LAST, PREVIOUS = NOTE_USE.format("last_used", "NOT"), NOTE_USE.format("previous_used", "NOT")
# Only if that secret was kept for a while, else there is nothing to say of it.
BEFORE_ROTATION = NOTE_USE.format("previous_used", "previous_ends_at IS NOT NULL AND")


class Writer(threading.Thread):
    """Takes over what the process spools, and what processes that are gone have left."""

    def __init__(self, calls: Spool, attempts: Attempts, *, parameters: dict[str, Any]) -> None:
        super().__init__(name="usage-writer", daemon=True)
        self.calls, self.attempts, self.parameters = calls, attempts, parameters
        self.pid = os.getpid()
        self.leaving = threading.Event()
        self.connection: Connection | None = None
        self.is_waiting = False  # for PostgreSQL, most likely
        self.retry = self.scan = self.maintain = 0.0  # when next, on the monotonic clock
        self.days: set[datetime.date] = set()
        self.uses: dict[tuple[int, bool], CallRecord] = {}  # to be noted
        self.noted: dict[tuple[int, bool], float] = {}  # when last, on the monotonic clock
        self.networks = networks.KnownNetworks()
        cache.hearers.append(self.hear)

    def run(self) -> None:
        while not self.leaving.wait(INTERVAL):
            self.turn()
        self.retry = 0.0
        self.turn()
        self.disconnect()
        self.calls.close()

    def turn(self) -> None:
        """Everything there is to do now. Never raises: what did not work is tried again."""
        if self.connection is None and time.monotonic() < self.retry:
            return
        try:
            self.work()
        except Exception as error:
            if not self.is_waiting:
                expected = isinstance(error, (psycopg.Error, OSError))
                log = logger.warning if expected else logger.exception
                log("usage_writer_waits", extra={"error": type(error).__name__})
            self.is_waiting = True
            self.disconnect()
            self.retry = time.monotonic() + RETRY_SECONDS
            return
        if self.is_waiting and self.connection:
            self.is_waiting = False
            logger.info("usage_writer_goes_on")

    def work(self) -> None:
        now = time.monotonic()
        if now >= self.maintain and not self.leaving.is_set():
            self.keep_partitions()
        for segment in self.calls.waiting():
            self.drain(segment)
        self.note_uses(now)
        if self.attempts.counts:
            self.write_attempts()
        if now >= self.scan:
            self.adopt()
            self.scan = time.monotonic() + SCAN_SECONDS

    def connected(self) -> Connection:
        if self.connection is None:
            self.connection = psycopg.connect(**{**self.parameters, **TIMEOUTS}, autocommit=True)
        return self.connection

    def disconnect(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def drain(self, segment: Segment) -> None:
        """Take over what the segment holds. Raises psycopg.Error."""
        try:
            if segment.taken is None:
                segment.taken = self.position(segment)
            end = segment.size  # what comes meanwhile is the next turn's, or there would be no large batches
            while segment.taken < end:
                piece = segment.read(segment.taken, min(BATCH_BYTES, end - segment.taken))
                self.store(segment, piece)
                segment.take(piece.end)
        except BaseException:
            segment.taken = None  # whether the commit went through only PostgreSQL knows
            raise

    def position(self, segment: Segment) -> int:
        query = "SELECT taken FROM proxy_spoolsegment WHERE name = %s"
        found: Any = self.connected().execute(query, [segment.name]).fetchone()
        return found[0] if found else spool.START

    def store(self, segment: Segment, piece: Piece) -> None:
        if piece.damaged:
            logger.error("spool_damaged", extra={"segment": segment.name, "lines": piece.damaged})
        if not piece.records:
            self.claim(segment, piece)
            return
        connection, batch = self.connected(), make_batch(piece.records)
        self.make_days({row.at.date() for row in batch.calls.values()})
        batch.unknown_networks = self.networks.select_unknown(batch.sources)
        try:
            with connection.transaction():
                self.claim(segment, piece)
                write(connection, batch)
        except (psycopg.DataError, psycopg.IntegrityError):
            batch.rejected += self.store_singly(segment, piece, batch)
        self.networks.add(batch.unknown_networks)
        self.reject(batch.rejected)
        for name, row in batch.uses.items():
            if name not in self.uses or self.uses[name].at < row.at:
                self.uses[name] = row

    def claim(self, segment: Segment, piece: Piece) -> None:
        names = {"name": segment.name, "start": segment.taken, "end": piece.end}
        if self.connected().execute(CLAIM, names).fetchone() is None:
            raise TakenOver

    def store_singly(self, segment: Segment, piece: Piece, batch: Batch) -> list[bytes]:
        """Each call by itself, so that one that PostgreSQL refuses does not hold up the others; returns the
        refused."""
        connection, refused = self.connected(), []
        parts = [Batch(unknown_networks=batch.unknown_networks)]
        parts += [Batch(calls={name: row}) for name, row in batch.calls.items()]
        parts += [Batch(corrections=[correction]) for correction in batch.corrections]
        with connection.transaction():
            self.claim(segment, piece)
            for part in parts:
                try:
                    with connection.transaction():
                        write(connection, part)
                except (psycopg.DataError, psycopg.IntegrityError) as error:
                    logger.error("call_refused", extra={"error": type(error).__name__})
                    refused += [record.encode() for record in (*part.calls.values(), *part.corrections)]
        return refused

    def reject(self, records: list[bytes]) -> None:
        """Keep what PostgreSQL will not take, for someone to look at."""
        if not records:
            return
        logger.error("calls_rejected", extra={"count": len(records), "file": "rejected.jsonl"})
        path = self.calls.folder / "rejected.jsonl"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
            file.writelines(record + b"\n" for record in records)

    def make_days(self, wanted: set[datetime.date]) -> None:
        if missing := wanted - self.days:
            connection = self.connected()
            partitions.make_for(connection, missing, today=today())
            self.days = partitions.days(connection) | wanted

    def hear(self, kind: str, name: str) -> None:
        """A key was changed, rotated perhaps: its next use is the first one of the new secret."""
        if kind == "key" and name.isdigit():
            for is_previous in (False, True):
                self.noted.pop((int(name), is_previous), None)

    def note_uses(self, now: float) -> None:
        """When, from where and with what keys were last used: at most once a minute for each, and the last
        use of a burst when the minute is over or the process ends."""
        for name, row in list(self.uses.items()):
            if not self.leaving.is_set() and now - self.noted.get(name, float("-inf")) < USE_NOTED_SECONDS:
                continue
            key_id, is_previous = name
            values = {"at": row.at, "address": row.address, "client": row.client, "key": key_id}
            written = self.connected().execute(PREVIOUS if is_previous else LAST, values).rowcount
            if not written and not is_previous:
                self.connected().execute(BEFORE_ROTATION, values)
            del self.uses[name]
            self.noted[name] = now

    def write_attempts(self) -> None:
        counts = self.attempts.take()
        values = [(place.hour, place.reason, place.network, counts[place]) for place in sorted(counts)]
        try:
            with (connection := self.connected()).transaction():
                connection.cursor().executemany(ADD_ATTEMPTS, values)
        except BaseException:
            self.attempts.give_back(counts)
            raise

    def adopt(self) -> None:
        """Take over what processes that are gone have left."""
        for segment in self.calls.orphans():
            try:
                self.drain(segment)
            except BaseException:
                segment.close()
                raise
            logger.info("spool_adopted", extra={"segment": segment.name})
            segment.remove()

    def keep_partitions(self) -> None:
        self.maintain = time.monotonic() + MAINTAIN_SECONDS
        try:
            partitions.maintain(self.connected(), today=today(), keep_days=settings.USAGE_RETENTION_DAYS)
        except psycopg.errors.LockNotAvailable:
            logger.warning("partitions_busy")


def today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


_starting = threading.Lock()
_writer: Writer | None = None


def start() -> None:
    """Start this process's writer, once; after a fork the child starts its own."""
    global _writer
    with _starting:
        if _writer is None or _writer.pid != os.getpid():
            parameters = django_connection.get_connection_params()
            for django_only in ("pool", "cursor_factory", "context", "prepare_threshold"):
                parameters.pop(django_only, None)
            _writer = Writer(recording.calls, recording.attempts, parameters=parameters)
            _writer.start()
            atexit.register(stop)


def stop() -> None:
    """Write what there is; what PostgreSQL does not take in time stays on disk and is adopted."""
    if _writer is not None and _writer.pid == os.getpid():
        _writer.leaving.set()
        _writer.join(LEAVE_SECONDS)
