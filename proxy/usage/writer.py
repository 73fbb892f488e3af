"""Writes the spool to PostgreSQL: one thread for each process, batches by COPY, totals in the same transaction.

Each batch is a piece of a spool segment. Its transaction also moves the segment's row to the end of the piece, so that
no call is written twice, even if a process is killed or the confirmation of a commit is lost.
"""

import atexit
import dataclasses
import datetime
import logging
import os
import threading
import time
from typing import Any

import psycopg
from django.conf import settings

from keys.credentials import cache
from keys.database import connection_parameters
from proxy.models.attempts import KEPT
from proxy.usage import networks, partitions, recording, spool
from proxy.usage.attempts import Attempts
from proxy.usage.batches import Batch, make_batch, write, write_totals
from proxy.usage.partitions import Connection
from proxy.usage.record import CallRecord
from proxy.usage.spool import Piece, Segment, Spool

logger = logging.getLogger(__name__)

INTERVAL = 0.5  # seconds between two runs
RETRY_SECONDS = 0.5  # between attempts to reach PostgreSQL
SCAN_SECONDS = 1.0  # between scans for segments of processes that have ended
MAINTAIN_SECONDS = 3600.0
FORGET_SECONDS = 60.0  # between two runs that delete refusals which are too old
BATCH_BYTES = 512 * 1024  # of the spool; some 1,300 calls
USE_SECONDS = 60.0
STOP_SECONDS = 10.0  # how long a process that ends waits for its calls to be written; others adopt the rest
TIMEOUTS = {
    "connect_timeout": 3,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "hokusai-usage",
}
# Set after connecting: PgBouncer refuses `options` in the startup message.
SESSION = "SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '30s'"


class SegmentMoved(Exception):
    """The segment was written further by another process, or by this one in a commit whose confirmation was lost."""


ADVANCE = """
    INSERT INTO proxy_spoolsegment AS segment (name, taken) VALUES (%(name)s, %(end)s)
    ON CONFLICT (name) DO UPDATE SET taken = excluded.taken, at = now() WHERE segment.taken = %(start)s
    RETURNING 1
"""
ADD_ATTEMPTS = """
    INSERT INTO proxy_keylessattempt AS attempt (hour, reason, network, count) VALUES (%s, %s, %s, %s)
    ON CONFLICT (hour, reason, network) DO UPDATE SET count = attempt.count + excluded.count
"""
ADD_REFUSED = """
    INSERT INTO proxy_uncalledrequest (request_id, at, status, reason, method, path, message)
    VALUES (%(request_id)s, %(at)s, %(status)s, %(reason)s, %(method)s, %(path)s, %(message)s)
    ON CONFLICT DO NOTHING
"""
FORGET_REFUSED = "DELETE FROM proxy_uncalledrequest WHERE at < now() - %s"
# `{1}` checks whether the key was rotated after the use, which is written late and was then of the previous secret.
WRITE_USE = """
    UPDATE keys_apikey SET {0}_at = %(at)s, {0}_address = %(address)s, {0}_client = %(client)s
    WHERE id = %(key)s AND ({0}_at IS NULL OR {0}_at < %(at)s) AND {1}
    EXISTS (SELECT FROM keys_keyevent WHERE key_id = %(key)s AND kind = 'rotated' AND at > %(at)s)
"""
LAST, PREVIOUS = WRITE_USE.format("last_used", "NOT"), WRITE_USE.format("previous_used", "NOT")
# Only if the previous secret stayed valid after the rotation.
BEFORE_ROTATION = WRITE_USE.format("previous_used", "previous_ends_at IS NOT NULL AND")


class Writer(threading.Thread):
    """Writes this process's spool, and the segments of processes that have ended."""

    def __init__(self, calls: Spool, attempts: Attempts, *, parameters: dict[str, Any]) -> None:
        super().__init__(name="usage-writer", daemon=True)
        self.calls, self.attempts, self.parameters = calls, attempts, parameters
        self.pid = os.getpid()
        self.stopping = threading.Event()
        self.connection: Connection | None = None
        self.is_waiting = False  # usually for PostgreSQL
        self.retry = self.scan = self.maintain = self.forget = (
            0.0  # when each is due next, on the monotonic clock
        )
        self.days: set[datetime.date] = set()
        self.uses: dict[tuple[int, bool], CallRecord] = {}  # not written yet
        self.uses_written: dict[tuple[int, bool], float] = {}  # on the monotonic clock
        self.networks = networks.KnownNetworks()
        cache.change_listeners.append(self.on_change)

    def run(self) -> None:
        while not self.stopping.wait(INTERVAL):
            self.run_once()
        self.retry = 0.0
        self.run_once()
        self.disconnect()
        self.calls.close()

    def run_once(self) -> None:
        """Do everything that is due. Never raises: the next run retries what failed."""
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
        if now >= self.maintain and not self.stopping.is_set():
            self.maintain_partitions()
        for segment in self.calls.waiting():
            self.write_segment(segment)
        self.write_uses(now)
        if self.attempts.counts or self.attempts.totals:
            self.write_attempts()
        if self.attempts.refused:
            self.write_refused()
        if now >= self.forget:
            self.connect().execute(FORGET_REFUSED, [KEPT])
            self.forget = time.monotonic() + FORGET_SECONDS
        if now >= self.scan:
            self.adopt_orphans()
            self.scan = time.monotonic() + SCAN_SECONDS

    def connect(self) -> Connection:
        if self.connection is None:
            self.connection = psycopg.connect(**{**self.parameters, **TIMEOUTS}, autocommit=True)
            if cache.keeps_sessions():  # otherwise the settings would stay with a session of the pooler's
                self.connection.execute(SESSION)
        return self.connection

    def disconnect(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def write_segment(self, segment: Segment) -> None:
        """Write the records of a segment to PostgreSQL. Raises psycopg.Error."""
        try:
            if segment.written is None:
                segment.written = self.read_offset(segment)
            end = segment.size  # later records are for the next run, which keeps batches large
            while segment.written < end:
                piece = segment.read(segment.written, min(BATCH_BYTES, end - segment.written))
                self.write_piece(segment, piece)
                segment.mark_written(piece.end)
        except BaseException:
            segment.written = None  # only PostgreSQL knows whether the commit succeeded
            raise

    def read_offset(self, segment: Segment) -> int:
        query = "SELECT taken FROM proxy_spoolsegment WHERE name = %s"
        row: Any = self.connect().execute(query, [segment.name]).fetchone()
        return row[0] if row else spool.START

    def write_piece(self, segment: Segment, piece: Piece) -> None:
        if piece.damaged:
            logger.error("spool_damaged", extra={"segment": segment.name, "lines": piece.damaged})
        if not piece.records:
            self.advance(segment, piece)
            return
        connection, batch = self.connect(), make_batch(piece.records)
        self.create_partitions({row.at.date() for row in batch.calls.values()})
        batch.unknown_networks = self.networks.select_unknown(batch.sources)
        try:
            with connection.transaction():
                self.advance(segment, piece)
                write(connection, batch)
        except (psycopg.DataError, psycopg.IntegrityError):
            batch.rejected += self.write_singly(segment, piece, batch)
        self.networks.add(batch.unknown_networks)
        self.reject(batch.rejected)
        for name, row in batch.uses.items():
            if name not in self.uses or self.uses[name].at < row.at:
                self.uses[name] = row

    def advance(self, segment: Segment, piece: Piece) -> None:
        names = {"name": segment.name, "start": segment.written, "end": piece.end}
        if self.connect().execute(ADVANCE, names).fetchone() is None:
            raise SegmentMoved

    def write_singly(self, segment: Segment, piece: Piece, batch: Batch) -> list[bytes]:
        """Write each call separately, so that one which PostgreSQL refuses does not block the others. Returns the
        refused ones."""
        connection, refused = self.connect(), []
        parts = [Batch(unknown_networks=batch.unknown_networks)]
        parts += [Batch(calls={name: row}) for name, row in batch.calls.items()]
        parts += [Batch(corrections=[correction]) for correction in batch.corrections]
        parts += [Batch(artifacts=[event]) for event in batch.artifacts]
        with connection.transaction():
            self.advance(segment, piece)
            for part in parts:
                try:
                    with connection.transaction():
                        write(connection, part)
                except (psycopg.DataError, psycopg.IntegrityError) as error:
                    logger.error("call_refused", extra={"error": type(error).__name__})
                    refused += [call.encode() for call in part.calls.values()]
                    refused += [correction.encode() for correction in part.corrections]
                    refused += [event.encode() for event in part.artifacts]
        return refused

    def reject(self, records: list[bytes]) -> None:
        """Append the records that PostgreSQL refused to a file, for an administrator to check."""
        if not records:
            return
        logger.error("calls_rejected", extra={"count": len(records), "file": "rejected.jsonl"})
        path = self.calls.folder / "rejected.jsonl"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
            file.writelines(record + b"\n" for record in records)

    def create_partitions(self, wanted: set[datetime.date]) -> None:
        if missing := wanted - self.days:
            connection = self.connect()
            partitions.make_for(connection, missing, today=today())
            self.days = partitions.days(connection) | wanted

    def on_change(self, kind: str, name: str) -> None:
        """Forget the uses of a key that was changed: after a rotation, its next use is the first of the new secret."""
        if kind == "key" and name.isdigit():
            for is_previous in (False, True):
                self.uses_written.pop((int(name), is_previous), None)

    def write_uses(self, now: float) -> None:
        """Write the time, address and client of each key's last use, at most once a minute. The last use of a burst is
        written when the minute is over or the process ends."""
        for name, row in list(self.uses.items()):
            if not self.stopping.is_set() and now - self.uses_written.get(name, float("-inf")) < USE_SECONDS:
                continue
            key_id, is_previous = name
            values = {"at": row.at, "address": row.address, "client": row.client, "key": key_id}
            written = self.connect().execute(PREVIOUS if is_previous else LAST, values).rowcount
            if not written and not is_previous:
                self.connect().execute(BEFORE_ROTATION, values)
            del self.uses[name]
            self.uses_written[name] = now

    def write_attempts(self) -> None:
        counts, totals = self.attempts.pop_counts(), self.attempts.pop_totals()
        values = [(bucket.hour, bucket.reason, bucket.network, counts[bucket]) for bucket in sorted(counts)]
        try:
            with (connection := self.connect()).transaction(), connection.cursor() as cursor:
                cursor.executemany(ADD_ATTEMPTS, values)
                write_totals(cursor, totals)
        except BaseException:
            self.attempts.restore(counts)
            self.attempts.restore_totals(totals)
            raise

    def write_refused(self) -> None:
        refused = self.attempts.pop_refused()
        try:
            with (connection := self.connect()).transaction(), connection.cursor() as cursor:
                cursor.executemany(ADD_REFUSED, [dataclasses.asdict(each) for each in refused])
        except BaseException:
            self.attempts.restore_refused(refused)
            raise

    def adopt_orphans(self) -> None:
        """Write the segments of processes that have ended."""
        for segment in self.calls.orphans():
            try:
                self.write_segment(segment)
            except BaseException:
                segment.close()
                raise
            logger.info("spool_adopted", extra={"segment": segment.name})
            segment.remove()

    def maintain_partitions(self) -> None:
        self.maintain = time.monotonic() + MAINTAIN_SECONDS
        try:
            partitions.maintain(self.connect(), today=today(), keep_days=settings.USAGE_RETENTION_DAYS)
        except psycopg.errors.LockNotAvailable:
            logger.warning("partitions_busy")


def today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


_starting = threading.Lock()
_writer: Writer | None = None


def start() -> None:
    """Start this process's writer, once. After a fork, the child starts its own."""
    global _writer
    with _starting:
        if _writer is None or _writer.pid != os.getpid():
            _writer = Writer(recording.calls, recording.attempts, parameters=connection_parameters())
            _writer.start()
            atexit.register(stop)


def stop() -> None:
    """Write the remaining records. Those that PostgreSQL does not accept in time stay on disk for another process."""
    if _writer is not None and _writer.pid == os.getpid():
        _writer.stopping.set()
        _writer.join(STOP_SECONDS)
