"""Events of artifacts in the spool, for which PostgreSQL was unavailable, and how they get to PostgreSQL.

A spooled event is a JSON list: `["artifact", at, …]`, followed by the other fields of `ArtifactRecord` in their order.
"""

import datetime
import json
from collections.abc import Iterable
from typing import NamedTuple

import psycopg
from psycopg import sql

from proxy.usage.record import ENCODER, from_timestamp

ARTIFACT = "artifact"
PREFIX = b'["artifact",'


class ArtifactRecord(NamedTuple):
    """A row of `proxy_artifactevent`."""

    at: datetime.datetime
    environment: str
    path: str
    kind: str
    size: int | None
    sha256: str
    key_id: int | None
    user_id: int | None
    request_id: str

    def encode(self) -> bytes:
        return ENCODER.encode([ARTIFACT, self.at.timestamp(), *self[1:]]).encode()


def decode(content: bytes) -> ArtifactRecord:
    """The event. Raises ValueError if `content` is none."""
    try:
        _, seconds, *values = json.loads(content)
        return ArtifactRecord(from_timestamp(seconds), *values)
    except (TypeError, OverflowError, OSError) as error:
        raise ValueError("not an event of an artifact") from error


COLUMNS = ArtifactRecord._fields
INSERT = sql.SQL("INSERT INTO proxy_artifactevent ({}) VALUES ({})").format(
    sql.SQL(", ").join(map(sql.Identifier, COLUMNS)), sql.SQL(", ").join(sql.Placeholder() * len(COLUMNS))
)


def write(cursor: "psycopg.Cursor[tuple[object, ...]]", events: Iterable[ArtifactRecord]) -> None:
    """Write the events, within the caller's transaction."""
    cursor.executemany(INSERT, list(events))
