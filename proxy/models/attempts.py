"""Requests that became no call: the counts of those without a valid key, and each refusal for an hour."""

import datetime

from django.db import models
from django.utils import timezone

KEPT = datetime.timedelta(hours=1)  # how long a refusal can be looked up


class KeylessAttempt(models.Model):
    """The number of requests without a valid key in one hour, by reason and network."""

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


class UncalledRequest(models.Model):
    """A refused request that became no call, because it had no valid key or a wrong address: what its sender was told,
    to look up by its id. No credential, query string, address of the sender or body is kept."""

    request_id = models.CharField(max_length=40, unique=True)
    at = models.DateTimeField(db_index=True)
    status = models.PositiveSmallIntegerField()
    reason = models.CharField(max_length=40)
    method = models.CharField(max_length=16)
    path = models.CharField(max_length=300, help_text="Without the query.")
    message = models.CharField(max_length=1000)

    class Meta:
        default_permissions = ()
        ordering = ["-at"]

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.reason}"

    @classmethod
    def find(cls, request_id: str) -> "UncalledRequest | None":
        """The refusal of this request, if it is at most an hour old."""
        return cls.objects.filter(request_id=request_id, at__gt=timezone.now() - KEPT).first()
