"""The record of a call, as the spool keeps it and the writer copies it to PostgreSQL. Pure.

A spooled record is a JSON list. A call is `["call", request_id, at, …]`, followed by the other fields of `CallRecord`
in their order. A correction is `["correction", request_id, at, …]`, followed by those of `CallCorrection`. `at` is in
seconds since 1970. Spool files outlive upgrades: add a new field at the end, with a default.

The classes are named tuples and not frozen dataclasses, which take longer to create, on every request.
"""

import datetime
import json
from typing import NamedTuple

CALL, CORRECTION = "call", "correction"
ENCODER = json.JSONEncoder(separators=(",", ":"))  # ASCII, without line breaks


class CallRecord(NamedTuple):
    """One call that ended: a row of the usage log."""

    request_id: str
    at: datetime.datetime  # when the request arrived
    key_id: int | None  # None: a browser
    user_id: int | None  # None: without a valid key; such a record is counted and never spooled
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
    is_previous_secret: bool  # the key was used with the secret that it had before its rotation
    organisation_id: int = 1  # keys.models.SHARED_ID, that of records of earlier versions
    subject: str = ""  # of the signed token that acted as a trust's key

    def encode(self) -> bytes:
        # Without the defaults, an earlier version of the portal reads it too.
        last = len(self) if self.subject else -2 if self.organisation_id == 1 else -1
        return ENCODER.encode([CALL, self.request_id, self.at.timestamp(), *self[2:last]]).encode()

    def difference_from(self, before: "CallRecord") -> "CallCorrection":
        return CallCorrection(
            request_id=self.request_id,
            at=self.at,
            reason=self.reason,
            bytes_out=self.bytes_out - before.bytes_out,
            duration_ms=self.duration_ms - before.duration_ms,
        )

    def corrected(self, correction: "CallCorrection") -> "CallRecord":
        return self._replace(
            reason=correction.reason,
            bytes_out=self.bytes_out + correction.bytes_out,
            duration_ms=self.duration_ms + correction.duration_ms,
        )


class CallCorrection(NamedTuple):
    """The difference between a call and its record, for a response that was cut off after it was recorded."""

    request_id: str
    at: datetime.datetime  # as in the record
    reason: str  # replaces the record's
    bytes_out: int  # added to the record's; usually negative
    duration_ms: float  # added to the record's

    def encode(self) -> bytes:
        return ENCODER.encode([CORRECTION, self.request_id, self.at.timestamp(), *self[2:]]).encode()


COLUMNS = CallRecord._fields  # of proxy_call


def decode(content: bytes) -> CallRecord | CallCorrection:
    """The record. Raises ValueError if `content` is none, or is of another version of the portal."""
    try:
        kind, request_id, seconds, *values = json.loads(content)
        at = from_timestamp(seconds)
        if kind == CALL:
            record = CallRecord(request_id, at, *values)
            if not isinstance(record.subject, str):
                raise TypeError("another version's field")
            return record
        if kind == CORRECTION:
            return CallCorrection(request_id, at, *values)
    except (TypeError, OverflowError, OSError) as error:
        raise ValueError("not a record of a call") from error
    raise ValueError("unknown kind of record")


def ended_at(content: bytes) -> float | None:
    """When the call of a spooled record ended, in seconds since 1970; None if it is not a record."""
    try:
        record = decode(content)
    except ValueError:
        return None
    duration_ms = record.duration_ms if isinstance(record, CallRecord) else 0
    return record.at.timestamp() + duration_ms / 1000


def from_timestamp(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
