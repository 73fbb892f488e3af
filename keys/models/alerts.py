"""Alerts, one row for each occasion, so that nobody is alerted twice; and the networks from which keys were used."""

from typing import Any

from django.db import models
from django.db.models import Q


class Alert(models.Model):
    """Written in the transaction that hands its delivery to the outbox (`keys.alerts.queue`)."""

    class Kind(models.TextChoices):
        LEAKED = "leaked", "Found in the open"
        CANARY = "canary_used", "Canary used"
        EXPIRING = "expiring", "Expires soon"
        EXPIRED = "expired", "Expired"
        QUOTA = "quota", "Monthly limit"
        UNUSED = "unused", "Not used"
        NETWORK = "new_network", "New network"
        DISK = "disk_nearly_full", "Disk nearly full"

    key = models.ForeignKey("keys.ApiKey", on_delete=models.PROTECT, null=True, related_name="alerts")
    kind = models.CharField(max_length=20, choices=Kind)
    occasion = models.CharField(max_length=100, help_text="What makes it another time.")
    at = models.DateTimeField(auto_now_add=True)
    detail: "models.JSONField[dict[str, Any], dict[str, Any]]" = models.JSONField(default=dict)
    mailed_at = models.DateTimeField(null=True)
    posted_at = models.DateTimeField(null=True, help_text="When the webhook took it.")
    ended_at = models.DateTimeField(null=True, help_text="When a nearly full disk had room again.")

    class Meta:
        ordering = ["-at", "-id"]
        default_permissions = ()  # the key's history shows its events
        constraints = [
            models.UniqueConstraint(name="one_alert_an_occasion", fields=["key", "kind", "occasion"]),
            models.UniqueConstraint(
                name="one_open_alert_without_key",
                fields=["kind", "occasion"],
                condition=Q(key=None, ended_at=None),
            ),
            models.CheckConstraint(
                name="alert_is_about_key_or_disk", condition=Q(kind="disk_nearly_full") ^ Q(key__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.occasion}"


class KeyNetworkQuerySet(models.QuerySet["KeyNetwork"]):
    def without_alert(self) -> "KeyNetworkQuerySet":
        return self.filter(is_first=False, is_told=False)


class KeyNetwork(models.Model):
    """A network that a key was used from; the first one of a key is no news.

    Written in the transaction that writes the calls to the log (`proxy.usage.networks`).
    """

    key = models.ForeignKey("keys.ApiKey", on_delete=models.PROTECT, related_name="used_networks")
    network = models.CharField(max_length=50, help_text="The caller's /24 (IPv4) or /64 (IPv6).")
    at = models.DateTimeField(help_text="The first call from there.")
    is_first = models.BooleanField(default=False, help_text="Of this key: nobody is told.")
    is_told = models.BooleanField(default=False)

    objects = KeyNetworkQuerySet.as_manager()

    class Meta:
        ordering = ["at", "id"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(name="one_network_of_a_key", fields=["key", "network"]),
            models.UniqueConstraint(
                name="one_first_network_of_a_key", fields=["key"], condition=Q(is_first=True)
            ),
            models.CheckConstraint(name="key_network_not_empty", condition=~Q(network="")),
        ]
        indexes = [
            models.Index(
                name="key_network_untold", fields=["id"], condition=Q(is_first=False, is_told=False)
            ),
        ]

    def __str__(self) -> str:
        return self.network
