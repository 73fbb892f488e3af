"""Time-stamps of the ledger's heads."""

from django.db import models
from django.db.models import Q


class LedgerStamp(models.Model):
    """What an RFC 3161 authority confirmed about the chain's end at some time. PostgreSQL refuses to change or delete
    it."""

    sequence = models.BigIntegerField(unique=True, help_text="The last row of the chain at that time.")
    hash = models.CharField(max_length=64, help_text="Of that row; the authority stamps it as ASCII.")
    at = models.DateTimeField(auto_now_add=True)
    stamped_at = models.DateTimeField(help_text="By the authority's clock.")
    authority = models.CharField(max_length=500, help_text="Its URL.")
    response = models.BinaryField(help_text="As it came: DER, for `openssl ts -verify -in`.")

    class Meta:
        ordering = ["sequence"]
        default_permissions = ()
        constraints = [
            models.CheckConstraint(name="ledger_stamp_hash", condition=Q(hash__regex="^[0-9a-f]{64}$"))
        ]

    def __str__(self) -> str:
        return f"{self.sequence} {self.stamped_at:%Y-%m-%d %H:%M}"
