"""Totals of the usage log: by key and operation for each day and hour, and of all keys together for each hour."""

import datetime
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q, Sum, Value
from django.db.models.functions import Cast, Coalesce, Trunc

from keys.models import SHARED_ID, ApiKey, Organisation, User

LATENCIES_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000)


class CallTotalQuerySet(models.QuerySet["CallTotal"]):
    def by_day(self) -> "CallTotalQuerySet":
        return self.filter(span=CallTotal.Span.DAY)

    def by_hour(self) -> "CallTotalQuerySet":
        """Only of the last days: `proxy.usage.partitions.HOURS_KEPT`."""
        return self.filter(span=CallTotal.Span.HOUR)

    def between(
        self, since: datetime.datetime | None, until: datetime.datetime | None
    ) -> "CallTotalQuerySet":
        """Days (or hours) that began from `since` on and before `until`; None: no such bound."""
        totals = self.filter(start__gte=since) if since else self
        return totals.filter(start__lt=until) if until else totals

    def with_month(self) -> "CallTotalQuerySet":
        """With the column `month`: the first day of `start`'s calendar month (UTC)."""
        return self.annotate(month=Trunc("start", "month", tzinfo=datetime.UTC))

    def failed(self) -> "CallTotalQuerySet":
        return self.filter(status_class__gte=4)

    def sums(self) -> dict[str, Any]:
        """`calls`, `bytes_in`, `bytes_out`, `duration_ms` of them all and `latencies` as in a row."""
        names = range(len(LATENCIES_MS) + 1)
        sums = self.aggregate(**SUMS, **{f"le_{n}": Coalesce(Sum(f"latencies__{n}"), 0) for n in names})
        sums["latencies"] = [sums.pop(f"le_{n}") for n in names]
        return sums

    def grouped(self, *fields: str) -> "models.QuerySet[CallTotal, dict[str, Any]]":
        """Sums by these fields (`key`, `user`, `operation`, `status_class`, `start`), most calls first."""
        sums: models.QuerySet[CallTotal, dict[str, Any]] = (
            self.order_by().values(*fields).annotate(**GROUP_SUMS)
        )
        return sums.order_by("-calls", *fields)

    def top_keys(self, count: int = 10) -> list[dict[str, Any]]:
        return list(self.grouped("key", "key__name", "key__public_id", "user__username")[:count])

    def top_operations(self, count: int = 10) -> list[dict[str, Any]]:
        return list(self.grouped("operation")[:count])


SUMS = {
    name: Coalesce(Sum(name), 0, output_field=field)
    for name, field in (
        ("calls", models.BigIntegerField()),
        ("bytes_in", models.BigIntegerField()),
        ("bytes_out", models.BigIntegerField()),
        ("duration_ms", models.FloatField()),
    )
}


# PostgreSQL sums bigint as numeric, which takes more than twice as long for a hundred thousand groups. As double
# precision, sums of whole numbers are exact up to 2^53: nine petabytes.
GROUP_SUMS = {
    name: Cast(Sum(Cast(name, models.FloatField())), models.BigIntegerField())
    for name in ("calls", "bytes_in", "bytes_out")
} | {"duration_ms": SUMS["duration_ms"]}


class CallTotal(models.Model):
    """The calls of a day or an hour, by key, user, operation and status class: what every total is read from.

    Written in the transaction that writes the calls (`proxy.usage.writer`); outlives them.
    """

    class Span(models.TextChoices):
        DAY = "day", "Day"
        HOUR = "hour", "Hour"

    span = models.CharField(max_length=4, choices=Span)
    start = models.DateTimeField(help_text="UTC.")
    key = models.ForeignKey(
        ApiKey,
        on_delete=models.PROTECT,
        null=True,
        related_name="call_totals",
        db_constraint=False,
        help_text="Empty: browsers.",
    )
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="call_totals", db_constraint=False)
    organisation = models.ForeignKey(
        Organisation,
        on_delete=models.PROTECT,
        default=SHARED_ID,
        db_default=Value(SHARED_ID),
        related_name="call_totals",
        db_constraint=False,
    )
    operation = models.CharField(max_length=80, blank=True)
    status_class = models.PositiveSmallIntegerField(help_text="The status's first digit.")
    calls = models.BigIntegerField(default=0)
    bytes_in = models.BigIntegerField(default=0)
    bytes_out = models.BigIntegerField(default=0)
    duration_ms = models.FloatField(default=0)
    latencies = ArrayField(
        models.BigIntegerField(),
        help_text="How many took up to each of LATENCIES_MS, and more than the last, not counting those before.",
    )

    objects = CallTotalQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="one_total",
                fields=["key", "span", "start", "user", "operation", "status_class", "organisation"],
                nulls_distinct=False,
            ),
            models.CheckConstraint(name="total_of_some_calls", condition=Q(calls__gte=0)),
            models.CheckConstraint(
                name="total_has_latencies", condition=Q(latencies__len=len(LATENCIES_MS) + 1)
            ),
        ]
        indexes = [
            models.Index(name="total_by_time", fields=["span", "start"]),
            models.Index(
                name="total_by_organisation",
                fields=["organisation", "span", "start"],
                condition=~Q(organisation=SHARED_ID),
            ),
            models.Index(name="total_by_user", fields=["user", "span", "start"]),
        ]

    def __str__(self) -> str:
        return f"{self.operation} {self.status_class}xx {self.start:%Y-%m-%d %H:%M}: {self.calls}"


class HourTotalQuerySet(models.QuerySet["HourTotal"]):
    def between(
        self, since: datetime.datetime | None, until: datetime.datetime | None
    ) -> "HourTotalQuerySet":
        """Hours that began from `since` on and before `until`; None: no such bound."""
        totals = self.filter(start__gte=since) if since else self
        return totals.filter(start__lt=until) if until else totals

    def by(self, step: str) -> list[dict[str, Any]]:
        """Sums by `step` ("hour" or "day", in UTC) and status class, oldest first: `step`, `status_class`,
        `calls`, `bytes_in`, `bytes_out`, `duration_ms`, and `latencies` as in a row."""
        names = [f"le_{n}" for n in range(len(LATENCIES_MS) + 1)]
        buckets = {name: Sum(f"latencies__{n}") for n, name in enumerate(names)}
        rows = (
            self.annotate(step=Trunc("start", step, tzinfo=datetime.UTC))
            .values("step", "status_class")
            .annotate(**SUMS, **buckets)
            .order_by("step", "status_class")
        )
        return [{**row, "latencies": [row.pop(name) for name in names]} for row in map(dict, rows)]


class HourTotal(models.Model):
    """The calls of an hour by status class, all keys together, so that a chart of a month reads a few rows however
    many keys there are. Written with `CallTotal`; kept for good."""

    start = models.DateTimeField(help_text="UTC.")
    status_class = models.PositiveSmallIntegerField(help_text="The status's first digit.")
    calls = models.BigIntegerField(default=0)
    bytes_in = models.BigIntegerField(default=0)
    bytes_out = models.BigIntegerField(default=0)
    duration_ms = models.FloatField(default=0)
    latencies = ArrayField(models.BigIntegerField(), help_text="As in CallTotal.")

    objects = HourTotalQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="one_hour_total", fields=["start", "status_class"]),
            models.CheckConstraint(
                name="hour_total_has_latencies", condition=Q(latencies__len=len(LATENCIES_MS) + 1)
            ),
        ]
        default_permissions = ()  # CallTotal's count

    def __str__(self) -> str:
        return f"{self.status_class}xx {self.start:%Y-%m-%d %H:%M}: {self.calls}"


def percentile(latencies: list[int], share: float) -> float | None:
    """The milliseconds within which `share` (0 to 1) of the calls were answered, from a row's `latencies`.

    Within a bucket the calls are taken to lie evenly; None without calls. Beyond the last bound: that bound.
    """
    wanted = sum(latencies) * share
    below, lower = 0, 0
    for count, upper in zip(latencies, (*LATENCIES_MS, LATENCIES_MS[-1]), strict=True):
        if count and below + count >= wanted:
            return lower + (upper - lower) * (wanted - below) / count
        below, lower = below + count, upper
    return None
