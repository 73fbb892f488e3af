"""Calls in progress. Each is written to the spool before its response ends."""

import datetime
import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from django.conf import settings
from django.http import HttpRequest
from prometheus_client import Counter

from keys.credentials.addresses import client_address
from keys.credentials.caller import Caller
from keys.credentials.tokens import hide
from keys.limits import CountedCall, may_log_refused_call
from keys.models import SHARED_ID
from keys.refusals import Refusal
from proxy.models.calls import CLIENT_GONE as CLIENT_GONE  # the view imports it from here
from proxy.routes.objects import ObjectRef
from proxy.upstream.in_flight import Slot
from proxy.usage import spool
from proxy.usage.attempts import Attempts, Refused
from proxy.usage.record import CallCorrection, CallRecord, ended_at

logger = logging.getLogger(__name__)

STOPPED = "portal_stopped"
RECENT_SECONDS = 300.0
OLD_SECONDS = 10.0  # how long a call may wait in the spool before the portal counts as degraded
FOLDER = settings.DATA_DIR / "spool"
LOST = Counter("hokusai_calls_lost", "Calls that could not be recorded and are missing from the usage log.")

calls = spool.Spool(FOLDER)
attempts = Attempts()
running: "WeakValueDictionary[str, CallInProgress]" = WeakValueDictionary()  # by request id


def keep_refusal(request: HttpRequest, refusal: Refusal) -> None:
    """Keep what the sender of a request was told that becomes no call, so that it can be looked up by its id."""
    meta = request.META
    refused = Refused(
        request_id=meta.get("portal.request_id", ""),
        at=utc_now(),
        status=refusal.status,
        reason=refusal.reason[:40],
        method=clean(request.method or "", 16),
        path=wsgi_text(hide(meta.get("PATH_INFO", "")), 300),
        message=clean(hide(refusal.message), 1000),
    )
    attempts.keep(refused, client_address(meta, trusted_proxies=settings.TRUSTED_PROXIES))


def utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@dataclass(kw_only=True)
class CallInProgress:
    """A call on its way, filled in step by step; its `CallRecord` is written at its end."""

    request_id: str
    method: str
    path: str
    address: str
    client: str
    client_version: str = ""
    caller: Caller | None = None
    slot: Slot | None = None
    waited_for_slot: float = 0.0  # seconds
    is_counted: bool = False  # against a limit of a minute
    counted_call: CountedCall | None = None
    operation: str = ""
    named_object: ObjectRef | None = None
    is_of_page: bool = False  # for a file of MLflow's pages, such as a script
    status: int = 0
    reason: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    direct_out: int = 0  # bytes that the caller gets from MLflow's store without the portal
    upstream_ms: float = 0.0
    at: datetime.datetime = field(default_factory=utc_now)
    started: float = field(default_factory=time.perf_counter)
    span: Any = None  # OpenTelemetry's, if `proxy.usage.tracing` is on
    recorded: CallRecord | None = None
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def __post_init__(self) -> None:
        running[self.request_id] = self

    def record(self, *, bytes_out: int | None = None) -> None:
        """Write the call to the spool, before the last byte of its response is sent; `bytes_out` is then the
        number of bytes that will have been sent.

        A second call of this method writes a correction if the bytes or the reason differ by then. A call
        without a valid key is only counted, and so is one over the limit of a minute, after the first few. A
        successful request for the files of MLflow's pages is not recorded: it says nothing about a user, and
        there are many.
        """
        with self.lock:  # at the portal's end, another thread records
            self.record_once(bytes_out)

    def record_once(self, bytes_out: int | None) -> None:
        bytes_out = (self.bytes_out if bytes_out is None else bytes_out) + self.direct_out
        before = self.recorded
        if before is not None and before.bytes_out == bytes_out and before.reason == self.reason:
            return
        record = self.make_record(bytes_out)
        if self.caller is None:
            if before is None and self.status in (400, 401):
                attempts.add(self.reason, self.address, at=self.at)
        elif before is None and self.is_only_counted(self.caller):
            attempts.add_refused(record)
        elif not (self.is_of_page and self.status < 400):
            append(record if before is None else record.difference_from(before))
        self.count_in_month(record, before)
        self.recorded = record

    def is_only_counted(self, caller: Caller) -> bool:
        """Whether the portal refused the call and the caller is over its limit of a minute."""
        is_over_limit = self.reason == "too_many_calls"
        is_refused_early = self.reason != "" and self.status >= 400 and not self.is_counted
        return (is_over_limit or is_refused_early) and not may_log_refused_call(
            caller, is_counted=is_over_limit
        )

    def count_in_month(self, record: CallRecord, before: CallRecord | None) -> None:
        """Count the call and its bytes in its key's month. A failed call does not count."""
        if self.counted_call is None:
            return
        is_served = self.status < 400
        if before is not None:
            self.counted_call.finalise(
                calls=0, byte_count=record.bytes_out - before.bytes_out if is_served else 0
            )
        elif is_served:
            self.counted_call.finalise(calls=0, byte_count=record.bytes_in + record.bytes_out)
        else:
            self.counted_call.finalise(calls=-1, byte_count=0)

    def end(self) -> None:
        """Record the call and free its slot: no more bytes are transferred."""
        try:
            self.record()
        finally:
            if self.slot:
                self.slot.release()

    @property
    def final_record(self) -> CallRecord:
        """The record of a call that has ended."""
        return self.recorded or self.make_record(self.bytes_out + self.direct_out)

    def make_record(self, bytes_out: int) -> CallRecord:
        """The call as it stands, with these bytes in its response."""
        caller, ref = self.caller, self.named_object
        return CallRecord(
            request_id=self.request_id,
            at=self.at,
            key_id=caller.key.pk if caller and caller.key else None,
            user_id=caller.user.pk if caller else None,
            operation=self.operation,
            method=self.method[:16],
            path=wsgi_text(self.path, 1000),
            object_kind=ref.kind if ref else "",
            object_name=clean(hide(ref.name), 500) if ref else "",
            status=self.status,
            reason=self.reason[:40],
            bytes_in=self.bytes_in,
            bytes_out=bytes_out,
            duration_ms=round((time.perf_counter() - self.started) * 1000, 3),
            upstream_ms=round(self.upstream_ms, 3),
            address=self.address or None,
            client=wsgi_text(self.client, 100),
            client_version=wsgi_text(self.client_version, 40),
            is_previous_secret=caller is not None and caller.is_previous,
            organisation_id=caller.organisation.pk if caller else SHARED_ID,
            subject=caller.subject if caller else "",
        )


def stop_running() -> None:
    """Set the reason of every call that is still running: the portal stops."""
    for call in list(running.values()):
        if call.recorded is None:
            call.reason = call.reason or STOPPED


def record_stopped() -> None:
    """Record the calls that had no complete response when the portal stopped, with 503 if they had no status yet."""
    for call in list(running.values()):
        if call.recorded is None:
            call.status = call.status or 503
            call.record()


def wsgi_text(text: str, length: int) -> str:
    """WSGI's bytes-as-Latin-1 decoded as UTF-8 and cleaned; bytes that are not UTF-8 become replacement
    characters."""
    if not text.isascii():
        text = text.encode("latin-1", "replace").decode("utf-8", "replace")
    return clean(text, length)


def clean(text: str, length: int) -> str:
    """Shorten the text and replace what PostgreSQL cannot store: NUL and lone surrogates."""
    if not text.isascii():
        text = text[:length].encode("utf-8", "replace").decode()
    return text[:length].replace("\0", "\ufffd")


@dataclass
class Losses:
    """Calls that this process could not record."""

    count: int = 0
    last: float = float("-inf")  # on the monotonic clock

    @property
    def is_recent(self) -> bool:
        return time.monotonic() - self.last < RECENT_SECONDS


losses = Losses()


def append(record: CallRecord | CallCorrection) -> None:
    """Write a record to the spool. A call is served even if this fails (the disk may be full); the loss is
    counted and reported."""
    try:
        calls.append(record.encode())
    except OSError as error:
        losses.count, losses.last = losses.count + 1, time.monotonic()
        LOST.inc()
        logger.error("call_not_recorded", extra={"request_id": record.request_id, "error": error.strerror})


@dataclass(frozen=True, kw_only=True)
class SpoolState:
    """Calls waiting on this machine, the seconds that the oldest has waited, and the calls lost."""

    backlog: int
    oldest_seconds: float
    lost: int

    @property
    def problem(self) -> str:
        if losses.is_recent:
            return "Calls cannot be recorded: check whether the disk under DATA_DIR is full"
        if self.oldest_seconds > OLD_SECONDS:
            return f"{self.backlog} calls wait to be written to PostgreSQL"
        return ""


def spool_state() -> SpoolState:
    waiting = spool.backlog(FOLDER)
    ends = [end for first in waiting.firsts if (end := ended_at(first)) is not None]
    oldest = max(0.0, time.time() - min(ends)) if ends else 0.0
    return SpoolState(backlog=waiting.count, oldest_seconds=round(oldest, 1), lost=losses.count)
