"""The usage log's front: a call on its way, and what of it goes to the spool before its answer ends."""

import datetime
import json
import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from django.conf import settings
from prometheus_client import Counter

from keys.credentials.caller import Caller
from keys.credentials.tokens import hide
from keys.limits import Admission
from proxy.routes.objects import ObjectRef
from proxy.upstream.in_flight import Place
from proxy.usage import spool
from proxy.usage.attempts import Attempts

logger = logging.getLogger(__name__)

CLIENT_GONE = 499  # nginx's status for a caller that went away before its answer
STOPPED = "portal_stopped"
CALL, CORRECTION = "call", "correction"  # what a record in the spool is
RECENT_SECONDS = 300.0
OLD_SECONDS = 10.0  # how long a call may wait in the spool before the portal counts as degraded
FOLDER = settings.DATA_DIR / "spool"
LOST = Counter(
    "hokusai_calls_lost", "Calls that could not be written down, and are missing in the usage log."
)

ENCODER = json.JSONEncoder(separators=(",", ":"))  # ASCII, without line breaks

calls = spool.Spool(FOLDER)
attempts = Attempts()
running: "WeakValueDictionary[str, Passage]" = WeakValueDictionary()  # by request id


@dataclass(kw_only=True)
class Passage:
    """A call on its way, filled in step by step and recorded at its end."""

    request_id: str
    method: str
    path: str
    address: str
    client: str
    client_version: str = ""
    caller: Caller | None = None
    place: Place | None = None
    admission: Admission | None = None
    operation: str = ""
    thing: ObjectRef | None = None
    is_of_page: bool = False  # asked for by MLflow's pages on their own, whoever reads them
    status: int = 0
    reason: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    upstream_ms: float = 0.0
    at: float = field(default_factory=time.time)  # seconds since 1970
    started: float = field(default_factory=time.perf_counter)
    span: Any = None  # OpenTelemetry's, if `proxy.usage.tracing` is on
    recorded: tuple[int, str] | None = None
    recorded_ms: float = 0.0
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def __post_init__(self) -> None:
        running[self.request_id] = self

    def record(self, *, bytes_out: int | None = None) -> None:
        """Put the call into the spool: before the last byte of its answer goes, `bytes_out` then being what
        will have gone. What turns out otherwise is corrected by the next time; the same again does nothing.

        A call without a key of anybody's is counted and has no row. What belongs to MLflow's pages
        themselves tells nothing of anyone, and would hide what does: it has none either, unless refused.
        """
        with self.lock:  # the portal's end comes from another thread
            self.record_once(bytes_out)

    def record_once(self, bytes_out: int | None) -> None:
        now = (self.bytes_out if bytes_out is None else bytes_out, self.reason)
        if now == self.recorded:
            return
        duration_ms = round((time.perf_counter() - self.started) * 1000, 3)
        if self.caller is None:
            if self.recorded is None and self.status in (400, 401):
                attempts.add(self.reason, self.address, at=moment(self.at))
        elif self.is_of_page and self.status < 400:
            pass
        elif self.recorded is None:
            keep([CALL, self.request_id, self.at, *self.row(self.caller, now[0], duration_ms)])
        else:
            more, longer = now[0] - self.recorded[0], duration_ms - self.recorded_ms
            keep([CORRECTION, self.request_id, self.at, self.reason[:40], more, longer])
        self.count(now[0])
        self.recorded, self.recorded_ms = now, duration_ms

    def count(self, bytes_out: int) -> None:
        """Settle what the call came to in its key's month: nothing, unless it was answered well."""
        if self.admission is None:
            return
        is_served = self.status < 400
        if self.recorded is not None:
            self.admission.settle(calls=0, size=bytes_out - self.recorded[0] if is_served else 0)
        elif is_served:
            self.admission.settle(calls=0, size=self.bytes_in + bytes_out)
        else:
            self.admission.settle(calls=-1, size=0)

    def end(self) -> None:
        """The call is over: nothing more of it goes either way."""
        try:
            self.record()
        finally:
            if self.place:
                self.place.leave()

    def row(self, caller: Caller, bytes_out: int, duration_ms: float) -> list[Any]:
        """The values of `proxy.usage.batches.Row` from the third on, and whether the key's old secret was used."""
        return [
            caller.key.pk if caller.key else None,
            caller.user.pk,
            self.operation,
            self.method[:16],
            clean(wsgi_text(self.path), 1000),
            self.thing.kind if self.thing else "",
            clean(hide(self.thing.name), 500) if self.thing else "",
            self.status,
            self.reason[:40],
            self.bytes_in,
            bytes_out,
            duration_ms,
            round(self.upstream_ms, 3),
            self.address or None,
            clean(wsgi_text(self.client), 100),
            clean(wsgi_text(self.client_version), 40),
            caller.is_previous,
        ]


def stop_running() -> None:
    """The portal stops: whatever still runs ends for that reason, and no other."""
    for passage in list(running.values()):
        if passage.recorded is None:
            passage.reason = passage.reason or STOPPED


def record_stopped() -> None:
    """Write down the calls that got no answer before the portal's end; 503 if there was no status yet."""
    for passage in list(running.values()):
        if passage.recorded is None:
            passage.status = passage.status or 503
            passage.record()


def wsgi_text(text: str) -> str:
    """WSGI's bytes-as-Latin-1 as the UTF-8 that they are, or should have been."""
    return text if text.isascii() else text.encode("latin-1", "replace").decode("utf-8", "replace")


def clean(text: str, length: int) -> str:
    """What PostgreSQL can hold: no NUL, no half of a surrogate pair."""
    return text[:length].encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


@dataclass
class Losses:
    """Calls that this process could not write down."""

    count: int = 0
    last: float = float("-inf")  # on the monotonic clock

    @property
    def is_recent(self) -> bool:
        return time.monotonic() - self.last < RECENT_SECONDS


losses = Losses()


def keep(record: list[Any]) -> None:
    """A call is served even if it cannot be written down: its disk may be full. That is counted and seen."""
    try:
        calls.append(ENCODER.encode(record).encode())
    except OSError as error:
        losses.count, losses.last = losses.count + 1, time.monotonic()
        LOST.inc()
        logger.error("call_not_recorded", extra={"request_id": record[1], "error": error.strerror})


def ended(record: bytes) -> float | None:
    """When the call of a spooled record ended, in seconds since 1970."""
    try:
        kind, _, at, *rest = json.loads(record)
        return float(at) + (rest[11] / 1000 if kind == CALL else 0)
    except (ValueError, TypeError, IndexError):
        return None


@dataclass(frozen=True, kw_only=True)
class State:
    """How the log does: calls waiting on this machine, seconds that the oldest has waited, calls lost."""

    backlog: int
    oldest_seconds: float
    lost: int

    @property
    def problem(self) -> str:
        if losses.is_recent:
            return "Calls cannot be written down: see whether the disk under DATA_DIR is full"
        if self.oldest_seconds > OLD_SECONDS:
            return f"{self.backlog} calls wait to be written to PostgreSQL"
        return ""


def state() -> State:
    waiting = spool.backlog(FOLDER)
    ends = [end for first in waiting.firsts if (end := ended(first)) is not None]
    oldest = max(0.0, time.time() - min(ends)) if ends else 0.0
    return State(backlog=waiting.count, oldest_seconds=round(oldest, 1), lost=losses.count)
