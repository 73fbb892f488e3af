"""The usage log: one row for each authenticated call."""

import datetime
from dataclasses import dataclass
from typing import Any

from django.db import models
from django.db.models import Count, Q
from django.utils import timezone

from keys.models import SHARED_ID, SUBJECT_LENGTH, ApiKey, Organisation, User

WINDOWS = (datetime.timedelta(days=1), datetime.timedelta(days=10), None)
EVERY_DAY = (None,)
CLIENT_GONE = 499  # the status of a call whose caller went away before the response
EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)


class CallQuerySet(models.QuerySet["Call"]):
    def with_caller(self) -> "CallQuerySet":
        return self.select_related("key", "user", "organisation")

    def between(self, since: datetime.datetime | None, until: datetime.datetime | None) -> "CallQuerySet":
        """Calls that came in from `since` on and before `until`; None: no such bound."""
        calls = self.filter(at__gte=since) if since else self
        return calls.filter(at__lt=until) if until else calls

    def of_class(self, status_class: int) -> "CallQuerySet":
        """Calls with this first digit of the status."""
        return self.filter(status__gte=status_class * 100, status__lt=status_class * 100 + 100)

    def passed(self) -> "CallQuerySet":
        return self.filter(status__lt=400)

    def with_old_secret(self) -> "CallQuerySet":
        """Calls with the secret that the key had before its last rotation at that time."""
        return self.filter(is_previous_secret=True)

    def failed(self) -> "CallQuerySet":
        return self.filter(status__gte=400)

    def refused(self) -> "CallQuerySet":
        """Errors of the portal itself, each with a reason. MLflow's errors, transfers that broke off and callers that
        went away are not among them."""
        return self.failed().exclude(reason="").exclude(status=CLIENT_GONE)

    def failed_unrefused(self) -> "CallQuerySet":
        """MLflow's errors, and callers that went away."""
        return self.failed().filter(Q(reason="") | Q(status=CLIENT_GONE))

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
            if call := calls.filter(request_id=request_id).first():
                return call
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
            rows = list((calls.filter(at__gte=latest - window) if window else calls)[:size])
            if len(rows) == size:
                break
        return rows

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
    is_previous_secret = models.BooleanField(
        default=False, help_text="The key was used with its secret from before the last rotation."
    )

    organisation = models.ForeignKey(
        Organisation,
        on_delete=models.PROTECT,
        default=SHARED_ID,
        related_name="calls",
        db_constraint=False,
        help_text="In whose workspace; of the key, or chosen by the browser's user.",
    )
    subject = models.CharField(
        max_length=SUBJECT_LENGTH,
        blank=True,
        default="",
        help_text="The claim sub of the signed token with which a trust was used.",
    )

    objects = CallQuerySet.as_manager()

    class Meta:
        managed = False
        ordering = ["-at", "-id"]

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.status}"

    @property
    def is_refused(self) -> bool:
        """Whether the error is the portal's own: see `CallQuerySet.refused`."""
        return self.status >= 400 and self.reason != "" and self.status != CLIENT_GONE

    @property
    def cursor(self) -> Cursor:
        return Cursor(at=self.at, id=self.pk)
