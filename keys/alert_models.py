"""What was found out about a key and has to be told: one row for each occasion, so that nobody is told twice."""

from typing import Any

from django.db import models


class Alert(models.Model):
    """Written in the transaction that hands its delivery to the outbox (`keys.tasks`)."""

    class Kind(models.TextChoices):
        LEAKED = "leaked", "Found in the open"
        CANARY = "canary_used", "Canary used"
        EXPIRING = "expiring", "Expires soon"
        EXPIRED = "expired", "Expired"
        QUOTA = "quota", "Monthly limit"
        UNUSED = "unused", "Not used"

    key = models.ForeignKey("keys.ApiKey", on_delete=models.PROTECT, related_name="alerts")
    kind = models.CharField(max_length=20, choices=Kind)
    occasion = models.CharField(max_length=100, help_text="What makes it another time.")
    at = models.DateTimeField(auto_now_add=True)
    detail: "models.JSONField[dict[str, Any], dict[str, Any]]" = models.JSONField(default=dict)
    mailed_at = models.DateTimeField(null=True)
    posted_at = models.DateTimeField(null=True, help_text="When the webhook took it.")

    class Meta:
        ordering = ["-at", "-id"]
        default_permissions = ()  # the key's history shows what matters of it
        constraints = [
            models.UniqueConstraint(name="one_alert_an_occasion", fields=["key", "kind", "occasion"]),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.occasion}"
