"""The usage log's tables: calls, their totals, attempts without a valid key."""

import datetime
from dataclasses import dataclass
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Count, Q, Sum
from django.db.models.functions import Coalesce, Now, Trunc
from django.utils import timezone

from keys.models import ApiKey, User

WINDOWS = (datetime.timedelta(days=1), datetime.timedelta(days=10), None)
EVERY_DAY = (None,)
EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)


class CallQuerySet(models.QuerySet["Call"]):
    def with_caller(self) -> "CallQuerySet":
        return self.select_related("key", "user")

    def between(self, since: datetime.datetime | None, until: datetime.datetime | None) -> "CallQuerySet":
        """Calls that came in from `since` on and before `until`; None: no such bound."""
        calls = self.filter(at__gte=since) if since else self
        return calls.filter(at__lt=until) if until else calls

    def of_class(self, status_class: int) -> "CallQuerySet":
        """Calls with this first digit of the status."""
        return self.filter(status__gte=status_class * 100, status__lt=status_class * 100 + 100)

    def failed(self) -> "CallQuerySet":
        return self.filter(status__gte=400)

    def refused(self) -> "CallQuerySet":
        """What the portal itself said no to, not MLflow; a transfer that broke off was not refused."""
        return self.failed().exclude(reason="")

    def about(self, kind: str, name: str) -> "CallQuerySet":
        """Calls that named this run, experiment, registered model, …"""
        return self.filter(object_kind=kind, object_name=name).exclude(object_name="")

    def top_objects(self, kind: str, count: int = 10) -> list[dict[str, Any]]:
        """The runs, registered models, … named most often. Reads the log itself: bound it in time first."""
        named = self.filter(object_kind=kind).exclude(object_name="").order_by().values("object_name")
        return [
            dict(row) for row in named.annotate(calls=Count("id")).order_by("-calls", "object_name")[:count]
        ]

    def with_request_id(self, request_id: str) -> "Call | None":
        """The call of this id. Looks at the latest days first, as `page` does."""
        now = timezone.now()
        for window in WINDOWS:
            calls = self.filter(at__gte=now - window) if window else self
            if found := calls.filter(request_id=request_id).first():
                return found
        return None

    def page(
        self,
        *,
        after: "Cursor | None" = None,
        size: int = 50,
        windows: tuple[datetime.timedelta | None, ...] = WINDOWS,
    ) -> list["Call"]:
        """The next `size` calls, latest first, after the one at `after`.

        By keyset, so that the thousandth page costs what the first does; the cursor of the last call leads on.
        Looks at the days just before first: most pages need not open every day's partition. With `EVERY_DAY`
        for windows it is always one query.
        """
        calls = self.order_by("-at", "-id")
        if after:
            calls = calls.filter(at__lte=after.at).filter(Q(at__lt=after.at) | Q(id__lt=after.id))
        latest = after.at if after else timezone.now()
        for window in windows:
            found = list((calls.filter(at__gte=latest - window) if window else calls)[:size])
            if len(found) == size:
                break
        return found

    def page_before(self, before: "Cursor", *, size: int = 50) -> list["Call"]:
        """The `size` calls just after the one at `before` in time, latest first: one page back."""
        calls = self.filter(at__gte=before.at).filter(Q(at__gt=before.at) | Q(id__gt=before.id))
        return list(calls.order_by("at", "id")[:size])[::-1]


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """A place in the log."""

    at: datetime.datetime
    id: int

    def __str__(self) -> str:
        return f"{int(self.at.timestamp() * 1_000_000)}-{self.id}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Raises ValueError."""
        microseconds, _, number = text.partition("-")
        at = EPOCH + datetime.timedelta(microseconds=int(microseconds))
        return cls(at=at, id=int(number))


class Call(models.Model):
    """One authenticated call, refused ones included. No query string, header or body is kept.

    `proxy.usage.partitions` keeps the table in partitions by day, whose primary key is (id, at). Nothing refers to
    keys and users by a constraint: dropping a day would have to lock them.
    """

    request_id = models.CharField(max_length=40)
    at = models.DateTimeField(help_text="When the call came in.")
    key = models.ForeignKey(
        ApiKey,
        on_delete=models.PROTECT,
        null=True,
        related_name="calls",
        db_constraint=False,
        help_text="Empty: the user's browser, in MLflow's pages.",
    )
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="calls", db_constraint=False)
    operation = models.CharField(max_length=80, blank=True, help_text="Empty: not an operation of MLflow's.")
    method = models.CharField(max_length=16)
    path = models.CharField(max_length=1000, help_text="Without the query.")
    object_kind = models.CharField(
        max_length=20, blank=True, help_text="run, experiment, registered_model, …"
    )
    object_name = models.CharField(max_length=500, blank=True, help_text="Its id; a registered model's name.")
    status = models.PositiveSmallIntegerField(
        help_text="What the caller got; 499: it went away before the answer."
    )
    reason = models.CharField(
        max_length=40, blank=True, help_text="Why the portal refused; empty if it did not."
    )
    bytes_in = models.BigIntegerField(default=0)
    bytes_out = models.BigIntegerField(default=0)
    duration_ms = models.FloatField(help_text="From the request's arrival to the last byte of the answer.")
    upstream_ms = models.FloatField(default=0, help_text="Of these, waiting for MLflow's first byte.")
    address = models.GenericIPAddressField(null=True)
    client = models.CharField(max_length=100, blank=True, help_text="The caller's User-Agent.")
    client_version = models.CharField(max_length=40, blank=True, help_text="MLflow's, as its client says.")

    objects = CallQuerySet.as_manager()

    class Meta:
        managed = False
        ordering = ["-at", "-id"]

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.status}"

    @property
    def cursor(self) -> Cursor:
        return Cursor(at=self.at, id=self.pk)


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
        sums: models.QuerySet[CallTotal, dict[str, Any]] = self.order_by().values(*fields).annotate(**SUMS)
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
                fields=["key", "span", "start", "user", "operation", "status_class"],
                nulls_distinct=False,
            ),
            models.CheckConstraint(name="total_of_some_calls", condition=Q(calls__gte=0)),
            models.CheckConstraint(
                name="total_has_latencies", condition=Q(latencies__len=len(LATENCIES_MS) + 1)
            ),
        ]
        indexes = [
            models.Index(name="total_by_time", fields=["span", "start"]),
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


class KeylessAttempt(models.Model):
    """Requests without a valid key in one hour, by why they were refused and whence they came."""

    hour = models.DateTimeField()
    reason = models.CharField(max_length=40)
    network = models.CharField(
        max_length=50,
        blank=True,
        help_text="An IPv4 /24 or IPv6 /64; empty: one of too many to list, or unknown.",
    )
    count = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="one_attempt_count", fields=["hour", "reason", "network"]),
        ]
        ordering = ["-hour", "-count"]

    def __str__(self) -> str:
        return f"{self.count} × {self.reason} from {self.network or 'elsewhere'}"


class SpoolSegment(models.Model):
    """How far a spool segment (`proxy.usage.spool`) has been taken over; with it, no call is taken over twice."""

    name = models.CharField(max_length=40, primary_key=True)
    taken = models.BigIntegerField(help_text="Bytes.")
    at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.name} {self.taken}"
