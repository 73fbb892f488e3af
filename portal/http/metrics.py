"""`/metrics` for Prometheus: the metrics of all server processes, and the state of spool, ledger and outbox."""

import fcntl
import ipaddress
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from keys.alerts.queue import queue_state
from keys.credentials.addresses import client_address
from keys.database import DATABASE_ERRORS
from keys.refusals import forbidden
from portal.http import disks
from portal.http.metric_files import lock_folder
from proxy.answers import refuse
from proxy.models import Registration
from proxy.provenance.scan.queue import waiting_scans
from proxy.upstream import in_flight
from proxy.usage import recording

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client reads it when it is first imported
# Headers that a proxy adds: a request with one of them did not come from the peer itself.
FORWARDED = ("X_FORWARDED_FOR", "X_FORWARDED_HOST", "X_FORWARDED_PROTO", "X_REAL_IP", "FORWARDED", "VIA")


@csrf_exempt  # so that another method gets 405
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    if not is_allowed(request.META):
        return refuse(
            request,
            forbidden("metrics_refused", "/metrics is read only from the networks of METRICS_ALLOW."),
        )
    return HttpResponse(exposition(), content_type=CONTENT_TYPE)


def is_allowed(meta: Mapping[str, Any]) -> bool:
    """Whether the client's address is in METRICS_ALLOW.

    Headers can only withdraw permission: the client's address is unknown if the request came through a proxy that
    TRUSTED_PROXIES does not count.
    """
    hops = [hop for hop in meta.get("HTTP_X_FORWARDED_FOR", "").split(",") if hop.strip()]
    is_forwarded = any(f"HTTP_{name}" in meta for name in FORWARDED)
    if is_forwarded and (not settings.TRUSTED_PROXIES or len(hops) < settings.TRUSTED_PROXIES):
        return False
    text = client_address(meta, trusted_proxies=settings.TRUSTED_PROXIES)
    if not text:
        return False
    address = ipaddress.ip_address(text)
    return any(address in network for network in settings.METRICS_ALLOW)


def exposition() -> bytes:
    """All metrics in Prometheus' text format."""
    state = CollectorRegistry()
    state.register(State())
    if not (folder := os.environ.get(FOLDER_VARIABLE)):
        return generate_latest(REGISTRY) + generate_latest(state)
    counts = CollectorRegistry()
    MultiProcessCollector(counts, path=folder)  # type: ignore[no-untyped-call]
    with lock_folder(Path(folder), fcntl.LOCK_SH):
        return generate_latest(counts) + generate_latest(state)


def waiting_calls() -> int:
    """The calls that wait for a slot now, in all processes of this machine's portal."""
    if not (folder := os.environ.get(FOLDER_VARIABLE)):
        return 0  # not in the portal's server
    files = map(str, Path(folder).glob("gauge_livesum_*.db"))
    with lock_folder(Path(folder), fcntl.LOCK_SH):
        gauges = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
    return int(
        sum(sample.value for gauge in gauges if gauge.name == in_flight.QUEUE for sample in gauge.samples)
    )


class State:
    """Metrics that are read at each scrape."""

    def collect(self) -> Iterator[Metric]:
        spool = recording.spool_state()
        yield GaugeMetricFamily("hokusai_spool_calls", "Calls not yet in PostgreSQL.", value=spool.backlog)
        yield GaugeMetricFamily(
            "hokusai_spool_oldest_seconds", "How long the oldest of them waits.", value=spool.oldest_seconds
        )
        yield GaugeMetricFamily(
            "hokusai_disk_nearly_full",
            "Whether the disk of the spool, or of the embedded MLflow's artifacts, is.",
            value=int(bool(disks.problem())),
        )
        try:
            pending, alerts = Registration.objects.pending().count(), queue_state()
            scans = waiting_scans()
        except DATABASE_ERRORS:
            yield GaugeMetricFamily("hokusai_postgresql_up", "Whether PostgreSQL answers.", value=0)
            return
        yield GaugeMetricFamily("hokusai_postgresql_up", "Whether PostgreSQL answers.", value=1)
        yield GaugeMetricFamily(
            "hokusai_registrations_pending", "Ledger rows whose outcome is not known yet.", value=pending
        )
        yield GaugeMetricFamily(
            "hokusai_alerts_oldest_seconds",
            "How long the oldest undelivered alert waits.",
            value=alerts.oldest_seconds,
        )
        yield GaugeMetricFamily(
            "hokusai_alerts_failed", "Deliveries of alerts that were given up.", value=alerts.failed
        )
        yield GaugeMetricFamily(
            "hokusai_scans_waiting",
            "Registered versions that are queued for a scan, or scanned now.",
            value=scans,
        )
