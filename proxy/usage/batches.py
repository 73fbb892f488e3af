"""What the writer writes: records of the spool as rows of the log and its totals, and the statements for them."""

import datetime
import json
import logging
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from proxy.models.totals import LATENCIES_MS
from proxy.usage import networks
from proxy.usage.partitions import Connection
from proxy.usage.record import CALL, moment

logger = logging.getLogger(__name__)

UNAUTHENTICATED = 401  # with a secret that has ended: no use of the key


class Row(NamedTuple):
    """A row of the log."""

    request_id: str
    at: datetime.datetime
    key_id: int | None  # None: a browser
    user_id: int
    operation: str
    method: str
    path: str
    object_kind: str
    object_name: str
    status: int
    reason: str
    bytes_in: int
    bytes_out: int
    duration_ms: float
    upstream_ms: float
    address: str | None
    client: str
    client_version: str


class Correction(NamedTuple):
    """What came out after a call had been recorded: its answer was cut off."""

    request_id: str
    at: datetime.datetime
    reason: str
    bytes_out: int  # more than recorded; usually less than 0
    duration_ms: float  # more than recorded

    def applied(self, row: Row) -> Row:
        return row._replace(
            reason=self.reason,
            bytes_out=row.bytes_out + self.bytes_out,
            duration_ms=row.duration_ms + self.duration_ms,
        )


class Group(NamedTuple):
    """What a total is for."""

    span: str
    start: datetime.datetime
    key_id: int | None
    user_id: int
    operation: str
    status_class: int


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
    """Calls to write, corrections of calls written before, the last use of each key's secrets, where keys were
    used from, and records that make no sense (of another version of the portal, say)."""

    rows: dict[str, Row] = field(default_factory=dict)
    corrections: list[Correction] = field(default_factory=list)
    uses: dict[tuple[int, bool], Row] = field(default_factory=dict)
    sources: dict[tuple[int, str], datetime.datetime] = field(default_factory=dict)
    places: networks.Places = field(default_factory=dict)  # of the sources, what is not known yet
    rejected: list[bytes] = field(default_factory=list)


def decode(records: Iterable[bytes]) -> Batch:
    batch = Batch()
    for record in records:
        try:
            kind, request_id, at, *values = json.loads(record)
            if kind == CALL:
                *values, is_previous = values
                row = batch.rows[request_id] = Row(request_id, moment(at), *values)
                if row.key_id is not None and row.status != UNAUTHENTICATED:
                    batch.uses[row.key_id, is_previous] = row
                    batch.sources.setdefault((row.key_id, row.address or ""), row.at)
                continue
            correction = Correction(request_id, moment(at), *values)
        except (ValueError, TypeError):
            batch.rejected.append(record)
            continue
        if known := batch.rows.get(request_id):
            batch.rows[request_id] = correction.applied(known)
        else:
            batch.corrections.append(correction)
    return batch


def totals(rows: Iterable[Row]) -> dict[Group, Total]:
    """By day and by hour."""
    groups: dict[Group, Total] = {}
    for row in rows:
        hour = row.at.replace(minute=0, second=0, microsecond=0)
        bucket = bisect_left(LATENCIES_MS, row.duration_ms)
        for span, start in (("day", hour.replace(hour=0)), ("hour", hour)):
            group = Group(span, start, row.key_id, row.user_id, row.operation, row.status // 100)
            total = groups.get(group) or groups.setdefault(group, Total())
            total.calls += 1
            total.bytes_in += row.bytes_in
            total.bytes_out += row.bytes_out
            total.duration_ms += row.duration_ms
            total.latencies[bucket] += 1
    return groups


COPY = sql.SQL("COPY proxy_call ({}) FROM STDIN").format(sql.SQL(", ").join(map(sql.Identifier, Row._fields)))
ADD_TOTAL = """
    INSERT INTO proxy_calltotal AS total (span, start, key_id, user_id, operation, status_class,
                                          calls, bytes_in, bytes_out, duration_ms, latencies)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (key_id, span, start, user_id, operation, status_class) DO UPDATE SET
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
    WHERE request_id = %s AND at = %s RETURNING key_id, user_id, operation, status
"""


def write(connection: Connection, batch: Batch) -> None:
    """The batch's calls, their networks and their totals, within the caller's transaction."""
    with connection.cursor() as cursor:
        with cursor.copy(COPY) as copy:
            for row in batch.rows.values():
                copy.write_row(row)
        networks.write(cursor, batch.places)
        groups = totals(batch.rows.values())
        for correction in batch.corrections:
            add_correction(cursor, correction, groups)
        # In one order in every process, so that two never wait for each other's rows.
        values = [
            (*group, *total.values)
            for group, total in sorted(
                groups.items(), key=lambda item: item[0]._replace(key_id=item[0].key_id or 0)
            )
        ]
        if values:
            cursor.executemany(ADD_TOTAL, values)
            # Last, since every process adds to the same few rows and waits here for those before it.
            cursor.executemany(
                ADD_HOUR, [(*hour, *total.values) for hour, total in sorted(hours(groups).items())]
            )


def hours(groups: dict[Group, Total]) -> dict[tuple[datetime.datetime, int], Total]:
    """The totals by hour of all keys together, by the hour's start and the status class."""
    found: dict[tuple[datetime.datetime, int], Total] = {}
    for group, total in groups.items():
        if group.span == "hour":
            found.setdefault((group.start, group.status_class), Total()).add(total)
    return found


def add_correction(
    cursor: "psycopg.Cursor[tuple[object, ...]]", correction: Correction, groups: dict[Group, Total]
) -> None:
    request_id, at, reason, bytes_out, duration_ms = correction
    found: Any = cursor.execute(CORRECT, [reason, bytes_out, duration_ms, request_id, at]).fetchone()
    if found is None:
        logger.warning("correction_without_call", extra={"request_id": request_id})
        return
    hour = at.replace(minute=0, second=0, microsecond=0)
    key_id, user_id, operation, status = found
    for span, start in (("day", hour.replace(hour=0)), ("hour", hour)):
        total = groups.setdefault(Group(span, start, key_id, user_id, operation, status // 100), Total())
        total.bytes_out += bytes_out
        total.duration_ms += duration_ms
