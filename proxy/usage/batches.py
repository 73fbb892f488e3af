"""Batches of spooled records: decoded, added up, and written to the usage log and its totals."""

import datetime
import logging
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from proxy.models.totals import LATENCIES_MS
from proxy.usage import artifact_events, networks
from proxy.usage.artifact_events import ArtifactRecord
from proxy.usage.networks import KeyNetworks
from proxy.usage.partitions import Connection
from proxy.usage.record import COLUMNS, CallCorrection, CallRecord, decode

logger = logging.getLogger(__name__)

UNAUTHENTICATED = 401  # the secret is no longer valid: this is not a use of the key


class Group(NamedTuple):
    """The calls that one total counts."""

    span: str
    start: datetime.datetime
    key_id: int | None
    user_id: int | None
    operation: str
    status_class: int
    organisation_id: int


@dataclass
class Total:
    calls: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    duration_ms: float = 0.0
    latencies: list[int] = field(default_factory=lambda: [0] * (len(LATENCIES_MS) + 1))

    @property
    def values(self) -> tuple[Any, ...]:
        return self.calls, self.bytes_in, self.bytes_out, self.duration_ms, self.latencies

    def add(self, other: "Total") -> None:
        self.calls += other.calls
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        self.duration_ms += other.duration_ms
        self.latencies = [mine + theirs for mine, theirs in zip(self.latencies, other.latencies, strict=True)]


@dataclass
class Batch:
    """Records of the spool, prepared for PostgreSQL."""

    calls: dict[str, CallRecord] = field(default_factory=dict)  # by request id
    corrections: list[CallCorrection] = field(default_factory=list)  # of calls in earlier batches
    artifacts: list[ArtifactRecord] = field(default_factory=list)
    uses: dict[tuple[int, bool], CallRecord] = field(
        default_factory=dict
    )  # the last use of each secret of a key
    sources: dict[tuple[int, str], datetime.datetime] = field(default_factory=dict)
    unknown_networks: KeyNetworks = field(default_factory=dict)  # of `sources`
    rejected: list[bytes] = field(default_factory=list)  # invalid, or of another version of the portal

    def add(self, record: CallRecord) -> None:
        self.calls[record.request_id] = record
        if record.key_id is not None and record.status != UNAUTHENTICATED:
            self.uses[record.key_id, record.is_previous_secret] = record
            self.sources.setdefault((record.key_id, record.address or ""), record.at)

    def correct(self, correction: CallCorrection) -> None:
        if call := self.calls.get(correction.request_id):
            self.calls[correction.request_id] = call.corrected(correction)
        else:
            self.corrections.append(correction)


def make_batch(records: Iterable[bytes]) -> Batch:
    batch = Batch()
    for content in records:
        try:
            if content.startswith(artifact_events.PREFIX):
                batch.artifacts.append(artifact_events.decode(content))
                continue
            record = decode(content)
        except ValueError:
            batch.rejected.append(content)
            continue
        if isinstance(record, CallRecord):
            batch.add(record)
        else:
            batch.correct(record)
    return batch


def totals_of(calls: Iterable[CallRecord]) -> dict[Group, Total]:
    """Totals by hour and by day."""
    hours: dict[Group, Total] = {}
    for call in calls:
        start = call.at.replace(minute=0, second=0, microsecond=0)
        caller = (call.key_id, call.user_id)
        group = Group("hour", start, *caller, call.operation, call.status // 100, call.organisation_id)
        total = hours.get(group) or hours.setdefault(group, Total())
        total.calls += 1
        total.bytes_in += call.bytes_in
        total.bytes_out += call.bytes_out
        total.duration_ms += call.duration_ms
        total.latencies[bisect_left(LATENCIES_MS, call.duration_ms)] += 1
    groups = dict(hours)
    for group, total in hours.items():
        day = group._replace(span="day", start=group.start.replace(hour=0))
        groups.setdefault(day, Total()).add(total)
    return groups


def add_totals(totals: dict[Group, Total], more: dict[Group, Total]) -> None:
    for group, total in more.items():
        totals.setdefault(group, Total()).add(total)


COPY = sql.SQL("COPY proxy_call ({}) FROM STDIN").format(sql.SQL(", ").join(map(sql.Identifier, COLUMNS)))
ADD_TOTAL = """
    INSERT INTO proxy_calltotal AS total (span, start, key_id, user_id, operation, status_class, organisation_id,
                                          calls, bytes_in, bytes_out, duration_ms, latencies)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (key_id, span, start, user_id, operation, status_class, organisation_id) DO UPDATE SET
        calls = total.calls + excluded.calls,
        bytes_in = total.bytes_in + excluded.bytes_in,
        bytes_out = total.bytes_out + excluded.bytes_out,
        duration_ms = total.duration_ms + excluded.duration_ms,
        latencies = ARRAY(SELECT a + b FROM unnest(total.latencies, excluded.latencies) AS both_of(a, b))
"""
ADD_HOUR = """
    INSERT INTO proxy_hourtotal AS total (start, status_class, calls, bytes_in, bytes_out, duration_ms, latencies)
    VALUES (%s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (start, status_class) DO UPDATE SET
        calls = total.calls + excluded.calls,
        bytes_in = total.bytes_in + excluded.bytes_in,
        bytes_out = total.bytes_out + excluded.bytes_out,
        duration_ms = total.duration_ms + excluded.duration_ms,
        latencies = ARRAY(SELECT a + b FROM unnest(total.latencies, excluded.latencies) AS both_of(a, b))
"""
CORRECT = """
    UPDATE proxy_call SET reason = %s, bytes_out = bytes_out + %s, duration_ms = duration_ms + %s
    WHERE request_id = %s AND at = %s RETURNING key_id, user_id, operation, status, organisation_id
"""


def write(connection: Connection, batch: Batch) -> None:
    """Write the batch's calls, their networks and their totals, within the caller's transaction."""
    with connection.cursor() as cursor:
        with cursor.copy(COPY) as copy:
            for call in batch.calls.values():
                copy.write_row(call)
        networks.write(cursor, batch.unknown_networks)
        totals = totals_of(batch.calls.values())
        for correction in batch.corrections:
            correct(cursor, correction, totals)
        write_totals(cursor, totals)
        if batch.artifacts:
            artifact_events.write(cursor, batch.artifacts)


def write_totals(cursor: "psycopg.Cursor[tuple[object, ...]]", totals: dict[Group, Total]) -> None:
    """Add these to the totals, within the caller's transaction."""
    # Every process writes in the same order, so that no two wait for each other's rows.
    values = [
        (*group, *total.values)
        for group, total in sorted(
            totals.items(), key=lambda item: item[0]._replace(key_id=item[0].key_id or 0)
        )
    ]
    if values:
        cursor.executemany(ADD_TOTAL, values)
        # These come last: all processes add to the same few rows, and wait here for each other.
        cursor.executemany(
            ADD_HOUR,
            [(*hour, *total.values) for hour, total in sorted(hour_totals(totals).items())],
        )


def hour_totals(totals: dict[Group, Total]) -> dict[tuple[datetime.datetime, int], Total]:
    """The totals by hour of all keys together, by the hour's start and the status class."""
    hours: dict[tuple[datetime.datetime, int], Total] = {}
    for group, total in totals.items():
        if group.span == "hour":
            hours.setdefault((group.start, group.status_class), Total()).add(total)
    return hours


def correct(
    cursor: "psycopg.Cursor[tuple[object, ...]]", correction: CallCorrection, totals: dict[Group, Total]
) -> None:
    """Correct a call that an earlier batch wrote, and its totals."""
    bytes_out, duration_ms = correction.bytes_out, correction.duration_ms
    values = [correction.reason, bytes_out, duration_ms, correction.request_id, correction.at]
    call: Any = cursor.execute(CORRECT, values).fetchone()
    if call is None:
        logger.warning("correction_without_call", extra={"request_id": correction.request_id})
        return
    hour = correction.at.replace(minute=0, second=0, microsecond=0)
    key_id, user_id, operation, status, organisation_id = call
    for span, start in (("day", hour.replace(hour=0)), ("hour", hour)):
        group = Group(span, start, key_id, user_id, operation, status // 100, organisation_id)
        total = totals.setdefault(group, Total())
        total.bytes_out += bytes_out
        total.duration_ms += duration_ms
