"""Alerts, one row for each occasion, so that nobody is alerted twice; and the networks from which keys were used."""

import datetime
from typing import Any

from django.db import models
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from keys.models.events import KeyEvent
from keys.models.users import User

FOR_INFORMATION = datetime.timedelta(days=14)  # after which an alert that needs no action counts as settled
USES = ("last_used_at", "previous_used_at")  # of a key's two secrets


class AlertQuerySet(models.QuerySet["Alert"]):
    def with_people(self) -> "AlertQuerySet":
        return self.select_related("key__owner", "settled_by")

    def of_organisation(self, slug: str) -> "AlertQuerySet":
        """Alerts about the organisation, its keys or its files."""
        files = Q(kind=Alert.Kind.ARTIFACT, detail__path__startswith=f"workspaces/{slug}/")
        quota = Q(kind=Alert.Kind.ORGANISATION, detail__organisation=slug)
        return self.filter(Q(key__organisation__slug=slug) | quota | files)

    def open(self, *, now: datetime.datetime | None = None) -> "AlertQuerySet":
        """Alerts that still apply, and that nobody has settled. Those of a revoked key no longer apply."""
        applies = still_applies(now or timezone.now())
        known = Q()
        for kind, condition in applies.items():
            known |= Q(kind=kind) & condition
        return self.filter(known | ~Q(kind__in=applies), settled_at=None, key__revoked_at=None)

    def settled(self, *, now: datetime.datetime | None = None) -> "AlertQuerySet":
        return self.exclude(pk__in=Alert.objects.open(now=now).values("pk"))


def still_applies(now: datetime.datetime) -> dict[str, Q]:
    """When an alert of a kind still applies. One of any other kind applies until somebody settles it, or its key is
    revoked."""
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    same = {"key": OuterRef("key"), "kind": OuterRef("kind")}
    is_latest = Q(~Exists(Alert.objects.filter(**same, pk__gt=OuterRef("pk"))))
    rotated = KeyEvent.objects.filter(key=OuterRef("key"), kind=KeyEvent.Kind.ROTATED, at__gte=OuterRef("at"))
    unused = (Q(**{f"key__{name}": None}) | Q(**{f"key__{name}__lt": F("at")}) for name in USES)
    is_recent = Q(at__gt=now - FOR_INFORMATION)
    return {
        Alert.Kind.LEAKED: Q(detail__is_old=True) | Q(~Exists(rotated)),
        Alert.Kind.EXPIRING: Q(key__expires_at__gt=now, key__expires_at__lte=now + FOR_INFORMATION)
        & is_latest,
        Alert.Kind.EXPIRED: Q(key__expires_at__lte=now) & is_recent,
        Alert.Kind.QUOTA: Q(at__gte=month) & is_latest,
        Alert.Kind.UNUSED: next(unused) & next(unused) & is_latest,
        Alert.Kind.NETWORK: is_recent,
        Alert.Kind.DISK: Q(ended_at=None),
        Alert.Kind.TIMESTAMP: Q(ended_at=None),
        Alert.Kind.ORGANISATION: Q(at__gte=month),
    }


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
        ARTIFACT = "artifact_changed", "Artifact changed"
        ORGANISATION = "organisation_quota", "Monthly limit of an organisation"
        TIMESTAMP = "timestamp_failed", "No time-stamp"

    WITHOUT_KEY = (Kind.DISK, Kind.ARTIFACT, Kind.ORGANISATION, Kind.TIMESTAMP)

    key = models.ForeignKey("keys.ApiKey", on_delete=models.PROTECT, null=True, related_name="alerts")
    kind = models.CharField(max_length=20, choices=Kind)
    occasion = models.CharField(max_length=100, help_text="What makes it another time.")
    at = models.DateTimeField(auto_now_add=True)
    detail: "models.JSONField[dict[str, Any], dict[str, Any]]" = models.JSONField(default=dict)
    mailed_at = models.DateTimeField(null=True)
    mailed_to: "models.JSONField[list[str], list[str]]" = models.JSONField(
        default=list, help_text="Addresses; empty for alerts of earlier releases."
    )
    posted_at = models.DateTimeField(null=True, help_text="When the webhook took it.")
    ended_at = models.DateTimeField(
        null=True, help_text="When a nearly full disk had room again, or a time-stamp came."
    )
    settled_at = models.DateTimeField(null=True, help_text="When somebody marked it as settled.")
    settled_by = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, related_name="+", help_text="Empty: a command."
    )

    objects = AlertQuerySet.as_manager()

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
                name="alert_is_about_key_or_disk",
                condition=Q(
                    kind__in=[
                        "disk_nearly_full",
                        "artifact_changed",
                        "organisation_quota",
                        "timestamp_failed",
                    ]
                )
                ^ Q(key__isnull=False),
            ),
            models.CheckConstraint(
                name="alert_settled_at_some_time", condition=Q(settled_by=None) | Q(settled_at__isnull=False)
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
