"""The admin's first page: usage and state at a glance. Reads totals, never the log itself, and shows only what the user
may see."""

import datetime
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.decorators import permission_required
from django.core.cache import cache
from django.db.models import Count, QuerySet, Sum, Window
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from keys.alerts.wording import describe_alert
from keys.models import Alert, ApiKey, KeyRequest
from keys.pages.frame import render_page
from keys.rights import permissions
from portal.http import health, metrics
from proxy.lists.filters import STATUS_CLASSES
from proxy.models import CallTotal, HourTotal, KeylessAttempt, Registration
from proxy.models.totals import LATENCIES_MS, percentile

LINES = 6  # of each list


@dataclass(frozen=True, kw_only=True)
class Period:
    """The period shown: a number of steps up to now. The last step is still in progress."""

    name: str
    words: str
    step: str
    length: datetime.timedelta
    count: int
    fresh: int  # seconds for which the busiest keys are cached

    def start(self, now: datetime.datetime) -> datetime.datetime:
        begun = now.replace(minute=0, second=0, microsecond=0)
        if self.step == "day":
            begun = begun.replace(hour=0)
        return begun - self.length * (self.count - 1)


HOUR, DAY = datetime.timedelta(hours=1), datetime.timedelta(days=1)
PERIODS = {
    period.name: period
    for period in (
        Period(name="24h", words="24 hours", step="hour", length=HOUR, count=24, fresh=0),
        Period(name="7d", words="7 days", step="day", length=DAY, count=7, fresh=30),
        Period(name="30d", words="30 days", step="day", length=DAY, count=30, fresh=60),
    )
}


@dataclass(kw_only=True)
class Step:
    """An hour or a day of the chart."""

    at: datetime.datetime
    calls: dict[int, int] = field(default_factory=lambda: dict.fromkeys(STATUS_CLASSES, 0))
    bytes: int = 0
    latencies: list[int] = field(default_factory=lambda: [0] * (len(LATENCIES_MS) + 1))

    def add(self, row: dict[str, Any]) -> None:
        first = min(max(row["status_class"], 2), 5)
        self.calls[first] += row["calls"]
        self.bytes += row["bytes_in"] + row["bytes_out"]
        self.latencies = [mine + more for mine, more in zip(self.latencies, row["latencies"], strict=True)]

    @property
    def total(self) -> int:
        return sum(self.calls.values())

    @property
    def errors(self) -> int:
        return self.calls[4] + self.calls[5]

    @property
    def median(self) -> float | None:
        return percentile(self.latencies, 0.5)

    @property
    def p95(self) -> float | None:
        return percentile(self.latencies, 0.95)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number and its value in the previous period (None: unknown)."""

    label: str
    value: int
    before: int | None = None
    unit: str = ""
    note: str = ""
    address: str = ""

    @property
    def change(self) -> str:
        """The change from the previous period, in words."""
        if self.before is None:
            return self.note
        if not self.before:
            return "none before" if self.value else "none before either"
        percent = round(100 * (self.value - self.before) / self.before)
        return (
            f"{abs(percent)} % {'more' if percent > 0 else 'fewer'} than before" if percent else "as before"
        )


def callback(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The context of the admin's first page (unfold's DASHBOARD_CALLBACK)."""
    period = PERIODS.get(request.GET.get("period", ""), PERIODS["24h"])
    sees = {
        "calls": any_of(request, *permissions.SEE_TRAFFIC),
        "keys": any_of(request, *permissions.SEE_KEYS),
        "registrations": any_of(request, permissions.VIEW_REGISTRATION),
        "attempts": any_of(request, *permissions.SEE_ATTEMPTS),
    }
    now = timezone.now()
    start = period.start(now)
    before = start - period.length * period.count
    shown: dict[str, Any] = {"period": period, "periods": PERIODS.values(), "sees": sees, "figures": []}
    if sees["calls"]:
        shown |= traffic(period, start, before, shown["figures"])
    if sees["keys"]:
        shown |= keys(start, shown["figures"])
        if sees["calls"]:
            shown["busiest"] = busiest(period, start)
    if sees["registrations"]:
        shown |= registrations(start, before, shown["figures"])
    if sees["attempts"]:
        shown["attempts"] = attempts(start)
    return {**context, **shown}


def any_of(request: HttpRequest, *permissions: str) -> bool:
    return any(request.user.has_perm(name) for name in permissions)


def traffic(
    period: Period, start: datetime.datetime, before: datetime.datetime, figures: list[Figure]
) -> dict[str, Any]:
    steps = {(at := start + period.length * number): Step(at=at) for number in range(period.count)}
    now, then = Step(at=start), Step(at=before)
    for row in HourTotal.objects.between(before, None).by(period.step):
        (now if row["step"] >= start else then).add(row)
        if row["step"] in steps:
            steps[row["step"]].add(row)
    figures += [
        Figure(label="Calls", value=now.total, before=then.total),
        Figure(label="Errors", value=now.errors, before=then.errors),
        Figure(label="Transferred", value=now.bytes, before=then.bytes, unit="bytes"),
        Figure(label="Waiting calls", value=metrics.waiting_calls(), note="now, behind others of their key"),
    ]
    return {"steps": list(steps.values()), "traffic": now, "chart": chart(list(steps.values()), period)}


def chart(steps: list[Step], period: Period) -> dict[str, Any]:
    """The chart's data for portal/dashboard.js. The table below the chart shows the same numbers."""
    form = "%H:%M" if period.step == "hour" else "%d %b"
    return {
        "labels": [f"{step.at:{form}}" for step in steps],
        "classes": [
            {"name": name, "calls": [step.calls[first] for step in steps]}
            for first, name in STATUS_CLASSES.items()
        ],
        "median": [step.median for step in steps],
        "p95": [step.p95 for step in steps],
    }


def keys(start: datetime.datetime, figures: list[Figure]) -> dict[str, Any]:
    working = ApiKey.objects.active()
    active = working.used_since(start).count()
    figures.append(Figure(label="Active keys", value=active, note=f"of {working.count():,} that work"))
    alerts, count = first_rows(Alert.objects.open().with_people())
    requests, open_requests = first_rows(KeyRequest.objects.open().with_people())
    expiring, expiring_count = first_rows(ApiKey.objects.expiring_soon().with_owner().order_by("expires_at"))
    figures.append(Figure(label="Open alerts", value=count, note="see all alerts", address=reverse("alerts")))
    return {
        "has_keys": ApiKey.objects.exists(),
        "alerts": [(alert, describe_alert(alert)[0]) for alert in alerts],
        "open_alerts": count,
        "requests": requests,
        "open_requests": open_requests,
        "expiring": expiring,
        "expiring_count": expiring_count,
        "unused": ApiKey.objects.unused().with_owner().order_by("created_at")[:LINES],
    }


def first_rows(rows: "QuerySet[Any]") -> tuple[list[Any], int]:
    """The first rows of a list, and how many there are in all, with one query."""
    first = list(rows.annotate(in_all=Window(Count("*")))[:LINES])
    return first, first[0].in_all if first else 0


def busiest(period: Period, start: datetime.datetime) -> list[dict[str, Any]]:
    """The keys with the most calls, each with its share of the maximum. Cached for `period.fresh` seconds if the steps
    are days: with 10,000 keys, a month is half a million totals."""
    name = f"busiest-{period.name}-{start:%Y%m%d%H}"
    rows = cache.get(name) if period.fresh else None
    if rows is None:
        rows = count_by_key(period, start)
        if period.fresh:
            cache.set(name, rows, period.fresh)
    keys = ApiKey.objects.with_owner().in_bulk([key for key, _ in rows])
    most = max((calls for _, calls in rows), default=1) or 1
    return [
        {"key": keys[key], "calls": calls, "share": round(100 * calls / most)}
        for key, calls in rows
        if key in keys
    ]


def count_by_key(period: Period, start: datetime.datetime) -> list[tuple[int, int]]:
    totals = CallTotal.objects.by_hour() if period.step == "hour" else CallTotal.objects.by_day()
    sums = totals.between(start, None).exclude(key=None).order_by().values("key").annotate(total=Sum("calls"))
    return [(row["key"], row["total"]) for row in sums.order_by("-total", "key")[:LINES]]


def registrations(
    start: datetime.datetime, before: datetime.datetime, figures: list[Figure]
) -> dict[str, Any]:
    done = Registration.objects.effective()
    figures.append(
        Figure(
            label="Registrations",
            value=done.between(start, None).count(),
            before=done.between(before, start).count(),
        )
    )
    return {"latest": Registration.objects.with_people().page(LINES)}


def attempts(start: datetime.datetime) -> list[dict[str, Any]]:
    """Requests without a valid key, by the reason for the refusal."""
    counted = KeylessAttempt.objects.filter(hour__gte=start).order_by().values("reason", "network")
    rows = counted.annotate(attempts=Sum("count")).order_by("-attempts", "reason", "network")
    return [dict(row) for row in rows[:LINES]]


@permission_required(permissions.SEE_HEALTH, raise_exception=True)
@require_safe
def wellness(request: HttpRequest) -> HttpResponse:
    """The state of MLflow, PostgreSQL and the spool. Loaded separately, so that an unresponsive MLflow
    does not delay the page: `portal.http.health` waits at most PROBE_TIMEOUT."""
    checks = health.checks()
    status = health.verdict(checks, needed=health.NEEDED)
    template = "part" if request.headers.get("HX-Request") else "page"
    return render_page(
        request,
        f"admin/audit/health_{template}.html",
        opts=None,
        title="Health",
        checks=checks,
        status=status,
    )
