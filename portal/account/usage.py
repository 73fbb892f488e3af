"""Usage from the totals alone: sums, and a chart's columns by status class."""

import datetime
from dataclasses import dataclass

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format

from keys import limits
from keys.models import ApiKey, User
from portal.account.frame import holder, page
from proxy.lists import exports
from proxy.lists.usage_report import FIELDS, PRESETS, UsageForm, all_rows, make_report
from proxy.models import CallTotal
from proxy.models.totals import CallTotalQuerySet, percentile

MOST_KEYS = 10  # keys on the usage page, most used first
HOUR, DAY = datetime.timedelta(hours=1), datetime.timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Period:
    """A period up to now, in `columns` steps of an hour or a day (UTC)."""

    words: str
    columns: int
    step: datetime.timedelta

    @property
    def start(self) -> datetime.datetime:
        now = timezone.now().astimezone(datetime.UTC).replace(minute=0, second=0, microsecond=0)
        latest = now if self.step == HOUR else now.replace(hour=0)
        return latest - self.step * (self.columns - 1)

    def of(self, totals: CallTotalQuerySet) -> CallTotalQuerySet:
        steps = totals.by_hour() if self.step == HOUR else totals.by_day()
        return steps.between(self.start, None)


PERIODS = {
    "24h": Period(words="24 hours", columns=24, step=HOUR),
    "7d": Period(words="7 days", columns=7, step=DAY),
    "30d": Period(words="30 days", columns=30, step=DAY),
    "90d": Period(words="90 days", columns=90, step=DAY),
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """The calls of one step by status class. Totals do not tell the portal's refusals from MLflow's errors."""

    label: str
    passed: int
    client_errors: int
    server_errors: int


def summary(totals: CallTotalQuerySet) -> dict[str, int | float | None]:
    """Sums of the last 30 days; one query."""
    sums: dict[str, int | float | None] = {"calls": 0, "client_errors": 0, "server_errors": 0, "bytes": 0}
    for row in PERIODS["30d"].of(totals).grouped("status_class"):
        name = {4: "client_errors", 5: "server_errors"}.get(row["status_class"])
        for key, count in (("calls", row["calls"]), ("bytes", row["bytes_in"] + row["bytes_out"])):
            sums[key] = (sums[key] or 0) + count
        if name:
            sums[name] = (sums[name] or 0) + row["calls"]
    return sums


def chart(totals: CallTotalQuerySet, period: Period) -> list[Column]:
    """One column for each step, including steps without calls; none if there were no calls at all. One query."""
    rows = period.of(totals).grouped("start", "status_class")
    calls = {(row["start"], row["status_class"]): row["calls"] for row in rows}
    columns: list[Column] = []
    if not calls:
        return columns
    for number in range(period.columns):
        start = period.start + period.step * number
        passed = sum(calls.get((start, status_class), 0) for status_class in (1, 2, 3))
        label = f"{date_format(start)} {start:%H:%M}" if period.step == HOUR else date_format(start)
        columns.append(
            Column(
                label=label,
                passed=passed,
                client_errors=calls.get((start, 4), 0),
                server_errors=calls.get((start, 5), 0),
            )
        )
    return columns


@dataclass(frozen=True, kw_only=True)
class Limited:
    """A key with a monthly limit and its use in this calendar month (UTC)."""

    key: ApiKey
    requests: limits.LimitUse
    bytes: limits.LimitUse


def read_limited_keys(user: User) -> list[Limited]:
    """The user's working keys that have a monthly limit; two queries."""
    keys = limits.with_limits(user.api_keys.active()).order_by("-pk")
    shown = list(keys[:MOST_KEYS])
    used = limits.read_month_use(shown)
    return [Limited(key=key, requests=used[key.pk][0], bytes=used[key.pk][1]) for key in shown]


@login_required
def usage(request: HttpRequest) -> HttpResponse:
    """The chart, the keys and operations used most, and how much of each monthly limit is used."""
    chosen = request.GET.get("period", "")
    chosen = chosen if chosen in PERIODS else "30d"
    period, totals = PERIODS[chosen], CallTotal.objects.filter(user=holder(request))
    within = period.of(totals)
    sums = within.sums()
    return page(
        request,
        "usage.html",
        periods=PERIODS,
        chosen=chosen,
        period=period,
        sums=sums,
        median=percentile(sums["latencies"], 0.5),
        slow=percentile(sums["latencies"], 0.95),
        chart=chart(totals, period),
        keys=[{**row, "bytes": row["bytes_in"] + row["bytes_out"]} for row in within.top_keys(MOST_KEYS)],
        operations=within.top_operations(MOST_KEYS),
        limited=read_limited_keys(holder(request)),
    )


@login_required
def report(request: HttpRequest) -> HttpResponse:
    """Calls and bytes by key and by day or month, as accounting needs them."""
    form = UsageForm(request.GET, is_own=True)
    made = make_report(form, CallTotal.objects.filter(user=holder(request)))
    chosen = form.cleaned_data.get("span", "") if made else ""
    return page(
        request,
        "report.html",
        filter=form,
        report=made,
        presets=PRESETS,
        chosen=chosen,
        forms=exports.log_forms(),
    )


@login_required
def download(request: HttpRequest, file_form: str) -> HttpResponseBase:
    """All rows of the report as a file."""
    form = UsageForm(request.GET, is_own=True)
    if file_form not in exports.log_forms():
        raise Http404
    if not form.is_valid():
        return redirect(f"{reverse('account-usage-report')}?{form.query}")  # that page shows the error
    rows = all_rows(form, CallTotal.objects.filter(user=holder(request)))
    return exports.download("usage", file_form, FIELDS, rows)
