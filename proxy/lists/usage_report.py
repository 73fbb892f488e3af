"""Usage for accounting: calls and bytes by user and key, and by day or month, for the admin and the account pages."""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django import forms
from django.utils import timezone

from keys.models import Organisation
from keys.models.organisations import SHARED
from proxy.lists.page_filters import ListForm, OptionalChoice
from proxy.lists.usage import sum_usage
from proxy.models.totals import CallTotalQuerySet, HourTotalQuerySet

MOST_ROWS = 250  # of a page: the rows with the most calls; the CSV file has all
DAY = datetime.timedelta(days=1)
MOST_DAYS = 5 * 366  # of a period
CHART_DAYS = 92  # up to which the chart has a column for each day, above it for each month
PRESETS = {
    "yesterday": "Yesterday",
    "this_month": "This month",
    "last_month": "Last month",
    "30d": "Last 30 days",
}
GROUPS = {  # a key has one organisation, so that it makes no more rows
    "key": ("User and key", ["user", "key", "organisation"]),
    "user": ("User", ["user"]),
    "organisation": ("Organisation", ["organisation"]),
}
STEPS = {"month": "Month", "day": "Day", "whole": "Whole period"}
FIELDS = ["start", "user", "user_id", "key", "key_id", "calls", "bytes_in", "bytes_out", "duration_ms"]
FIELDS += ["organisation"]
CLASSES = {
    2: ("Passed", "--chart-ok"),
    4: ("Client errors (4xx)", "--chart-client-errors"),
    5: ("Server errors (5xx)", "--chart-server-errors"),
}
SUMS = ("calls", "bytes_in", "bytes_out")
NAMES = ("user", "key", "organisation")

Row = dict[str, Any]


class Day(forms.DateField):
    def __init__(self, label: str) -> None:
        widget = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
        invalid = {"invalid": "Write a day such as 2026-11-23."}
        super().__init__(label=label, required=False, widget=widget, error_messages=invalid)


class UsageForm(ListForm):
    """The period and the grouping. Without a period it is this month; days are in UTC."""

    span = OptionalChoice(list(PRESETS.items()), label="Period", nothing="By the days below")
    since = Day("From (UTC)")  # type: ignore[assignment]  # days, not times
    until = Day("Through (UTC)")  # type: ignore[assignment]
    by = OptionalChoice(
        [(name, words) for name, (words, _) in GROUPS.items()], label="By", nothing="User and key"
    )
    each = OptionalChoice(list(STEPS.items()), label="For each", nothing="Month")
    request_id = None  # type: ignore[assignment]
    field_order = ("span", "since", "until", "by", "each", "user", "key", "organisation")

    def __init__(self, data: Any, *, is_own: bool = False) -> None:
        """`is_own`: for a key holder's own calls, without the fields that select a user and keys."""
        super().__init__(data)
        for name in ("by", "each"):
            self.fields[name].choices = self.fields[name].choices[1:]  # type: ignore[attr-defined]
        if is_own:
            for name in ("user", "key", "organisation", "by"):
                del self.fields[name]

    def clean(self) -> Row:
        answers = super().clean() or {}
        if self.errors:
            return answers
        since, until = self.days()
        if since >= until:
            self.add_error("until", "This day is before the first one.")
        elif (until - since).days > MOST_DAYS:
            self.add_error("since", "A period has at most five years.")
        return answers

    def days(self) -> tuple[datetime.date, datetime.date]:
        """The first day, and the day after the last one."""
        today = timezone.now().astimezone(datetime.UTC).date()
        month, tomorrow = today.replace(day=1), today + DAY
        first, last = self.cleaned_data["since"], self.cleaned_data["until"]
        span = self.cleaned_data["span"]
        if span or not (first or last):
            return {
                "yesterday": (today - DAY, today),
                "last_month": ((month - DAY).replace(day=1), month),
                "30d": (tomorrow - 30 * DAY, tomorrow),
            }.get(span, (month, tomorrow))
        end = last + DAY if last and last < datetime.date.max else tomorrow
        return first or (end - DAY).replace(day=1), end

    @property
    def bounds(self) -> tuple[datetime.datetime, datetime.datetime]:
        first, end = self.days()
        return at_midnight(first), at_midnight(end)

    @property
    def groups(self) -> list[str]:
        return GROUPS[self.cleaned_data.get("by") or "key"][1]

    @property
    def step(self) -> str:
        return str(self.cleaned_data["each"] or "month")

    @property
    def is_narrowed(self) -> bool:
        """Whether it selects a user or keys."""
        return any(self.cleaned_data.get(name) for name in ("user", "key", "organisation"))

    def narrow_totals(self, totals: CallTotalQuerySet) -> CallTotalQuerySet:
        if user := self.cleaned_data.get("user"):
            totals = totals.filter(user=user)
        if keys := self.cleaned_data.get("key"):
            totals = totals.filter(key__in=keys)
        if slug := self.cleaned_data.get("organisation"):
            totals = totals.filter(organisation=Organisation.objects.filter(slug=slug).first() or 0)
        return totals

    def sums(self, totals: CallTotalQuerySet, bounds: tuple[Any, Any], most: int | None) -> list[Row]:
        """Sums by user (and key) and step, in the order of time, user and key."""
        by = [*self.groups, *([] if self.step == "whole" else [self.step])]
        since, until = bounds
        rows = sum_usage(by=by, since=since, until=until, rows=totals, narrow=self.narrow_totals, most=most)
        return sorted(
            rows,
            key=lambda row: (row.get("start", since), *(row.get(name) or "" for name in NAMES), str(row)),
        )


@dataclass(frozen=True, kw_only=True)
class Report:
    """`first` and `last`: the days of the period. `totals`: of all calls in it, also where `rows` is cut."""

    first: datetime.date
    last: datetime.date
    step: str
    has_users: bool
    has_keys: bool
    has_organisations: bool
    rows: list[Row]
    is_cut: bool
    totals: Row
    chart: Row

    @property
    def name_columns(self) -> int:
        """How many columns are left of the numbers."""
        return (self.step != "whole") + self.has_users + self.has_keys + self.has_organisations


def make_report(
    form: UsageForm, totals: CallTotalQuerySet, *, hours: HourTotalQuerySet | None = None
) -> Report | None:
    """Sums of `totals`. `hours`: totals of the same calls without their keys, which are far fewer. Without a filter,
    the chart is drawn from them. None if a field of the form is wrong."""
    if not form.is_valid():
        return None
    since, until = form.bounds
    rows = form.sums(totals, (since, until), MOST_ROWS + 1)
    is_monthly = (until - since).days > CHART_DAYS
    if hours is not None and not form.is_narrowed:
        counts = hours.between(since, until).by("month" if is_monthly else "day")
    else:
        counts = by_step(form.narrow_totals(totals.by_day().between(since, until)), is_monthly=is_monthly)
    chart = draw(counts, since, until, is_monthly=is_monthly)
    return Report(
        first=since.date(),
        last=(until - DAY).date(),
        step=form.step,
        has_users="user" in form.groups,
        has_keys="key" in form.groups,
        has_organisations="user" not in form.groups
        or any(row.get("organisation", SHARED) != SHARED for row in rows),
        rows=rows[:MOST_ROWS],
        is_cut=len(rows) > MOST_ROWS,
        totals=chart.pop("totals"),
        chart=chart,
    )


def by_step(totals: CallTotalQuerySet, *, is_monthly: bool) -> list[Row]:
    """Sums by day or month (`step`) and status class, as `HourTotalQuerySet.by` has them."""
    column = "month" if is_monthly else "start"
    grouped = (totals.with_month() if is_monthly else totals).grouped(column, "status_class")
    return [{**row, "step": row[column]} for row in grouped]


def draw(rows: list[Row], since: datetime.datetime, until: datetime.datetime, *, is_monthly: bool) -> Row:
    """The numbers of the chart, one row for each day or month of the period, and the `totals`."""
    counts: dict[tuple[datetime.datetime, int], int] = {}
    sums = dict.fromkeys(SUMS, 0)
    for row in rows:
        status = row["status_class"] if row["status_class"] in CLASSES else 2
        counts[row["step"], status] = counts.get((row["step"], status), 0) + row["calls"]
        sums = {name: sums[name] + row[name] for name in SUMS}
    starts = months(since, until) if is_monthly else days(since, until)
    form = "%Y-%m" if is_monthly else "%Y-%m-%d"
    return {
        "step": "month" if is_monthly else "day",
        "series": list(CLASSES.values()),
        "rows": [(f"{start:{form}}", [counts.get((start, each), 0) for each in CLASSES]) for start in starts],
        "totals": sums,
    }


def all_rows(form: UsageForm, totals: CallTotalQuerySet) -> Iterator[Row]:
    """All rows, one query for each step: a year of days of all keys does not fit into memory at once."""
    since, until = form.bounds
    match form.step:
        case "month":
            starts = months(since, until)
        case "day":
            starts = days(since, until)
        case _:
            starts = [since]
    for start, end in zip(starts, [*starts[1:], until], strict=True):
        for row in form.sums(totals, (max(start, since), end), None):
            yield {**dict.fromkeys(FIELDS, ""), "start": since, **row}


def at_midnight(day: datetime.date) -> datetime.datetime:
    return datetime.datetime.combine(day, datetime.time(), datetime.UTC)


def days(since: datetime.datetime, until: datetime.datetime) -> list[datetime.datetime]:
    return [since + DAY * number for number in range((until - since).days)]


def months(since: datetime.datetime, until: datetime.datetime) -> list[datetime.datetime]:
    """The first days of the calendar months of the period; the first may be before `since`."""
    return sorted({day.replace(day=1) for day in days(since, until)})
