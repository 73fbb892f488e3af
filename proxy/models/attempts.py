"""Counts of requests without a valid key."""

from django.db import models


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
