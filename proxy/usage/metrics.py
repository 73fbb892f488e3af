"""Prometheus metrics of each call. Labels come from tables in the code, never from callers, so that their number
is bounded. With several processes, prometheus_client keeps the numbers in files (`portal.http.metrics`)."""

from functools import cache
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from proxy.routes.table import OPERATIONS
from proxy.usage.record import CallRecord

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
UNMATCHED, PORTAL = "unmatched", "portal"  # without an operation of MLflow's; a request to the portal itself
CLASSES = {
    operation.name: str(operation.scopes[0]) if operation.scopes else "meta" for operation in OPERATIONS
}

CALLS = Counter(
    "hokusai_calls", "Calls that have ended, by first scope of their operation.", ["operation", "status"]
)
CALL_SECONDS = Histogram(
    "hokusai_call_seconds",
    "From the arrival of a call to the last byte of its response.",
    ["operation"],
    buckets=SECONDS,
)
UPSTREAM_SECONDS = Histogram(
    "hokusai_upstream_seconds",
    "From a request to MLflow to the start of its response.",
    ["operation"],
    buckets=SECONDS,
)
IN_FLIGHT = Gauge(
    "hokusai_requests_in_flight", "Requests of every kind that have not ended.", multiprocess_mode="livesum"
)
BYTES_IN = Counter("hokusai_received_bytes", "Bytes of bodies from callers.", ["operation"])
BYTES_OUT = Counter("hokusai_sent_bytes", "Bytes of bodies to callers.", ["operation"])
REFUSALS = Counter(
    "hokusai_refusals", "Calls that were refused, failed or were cut off, by reason.", ["reason"]
)
KEYLESS = Counter("hokusai_keyless_attempts", "Calls without a valid key, by reason.", ["reason"])


@cache
def labelled(metric: Any, *labels: str) -> Any:
    """The metric with these labels, which prometheus_client looks up under a lock each time."""
    return metric.labels(*labels)


def count(record: CallRecord, *, seconds: float) -> None:
    """Count a call to MLflow that has ended."""
    name = CLASSES.get(record.operation, UNMATCHED)
    labelled(CALLS, name, status_class(record.status)).inc()
    labelled(CALL_SECONDS, name).observe(seconds)
    if record.upstream_ms:
        labelled(UPSTREAM_SECONDS, name).observe(record.upstream_ms / 1000)
    if record.bytes_in:
        labelled(BYTES_IN, name).inc(record.bytes_in)
    if record.bytes_out:
        labelled(BYTES_OUT, name).inc(record.bytes_out)
    if record.reason:
        labelled(REFUSALS, record.reason).inc()
        if record.user_id is None and record.status in (400, 401):
            labelled(KEYLESS, record.reason).inc()


def count_page(*, status: int, seconds: float, sent: int) -> None:
    """Count a request to the portal itself: a page, the API, a health check."""
    CALLS.labels(PORTAL, status_class(status)).inc()
    CALL_SECONDS.labels(PORTAL).observe(seconds)
    BYTES_OUT.labels(PORTAL).inc(sent)


def status_class(status: int) -> str:
    return f"{status // 100}xx"
