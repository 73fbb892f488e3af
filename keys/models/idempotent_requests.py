"""Requests to the management API that carry an Idempotency-Key."""

from typing import Any

from django.db import models
from django.db.models import Q


class IdempotentRequest(models.Model):
    """A write by the management API that was done, so that sending it again does not do it again.

    Written in the transaction that does it: the unique constraint makes the second of two at once wait for the
    first. `answer` holds no secret.
    """

    caller = models.CharField(max_length=30, help_text="key:12 or user:3.")
    name = models.CharField(max_length=255, help_text="The caller's Idempotency-Key.")
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of method, path and body.")
    status = models.PositiveSmallIntegerField(default=0)
    answer: "models.JSONField[dict[str, Any], dict[str, Any]]" = models.JSONField(default=dict)
    headers: "models.JSONField[dict[str, str], dict[str, str]]" = models.JSONField(
        default=dict, db_default={}
    )
    at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="one_idempotent_request", fields=["caller", "name"]),
            models.CheckConstraint(
                name="idempotent_fingerprint_is_sha256", condition=Q(fingerprint__regex=r"^[0-9a-f]{64}$")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.caller} {self.name}"
