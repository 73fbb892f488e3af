"""The history of keys."""

from typing import Any

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.db.models.fields.json import KeyTextTransform

from keys.formatting.writing import ENGLISH, Writing
from keys.models.api_keys import ApiKey
from keys.models.users import User

LEAK_REASON = "found in the open"  # of the pause that follows the report of a leaked key


def later_rotations() -> "models.QuerySet[KeyEvent]":
    """For a subquery: the rotations of the outer event's key after that event."""
    return KeyEvent.objects.filter(kind=KeyEvent.Kind.ROTATED, key=OuterRef("key"), pk__gt=OuterRef("pk"))


class KeyEventQuerySet(models.QuerySet["KeyEvent"]):
    def with_people(self) -> "KeyEventQuerySet":
        return self.select_related("key__owner", "actor")

    def leaks(self) -> "KeyEventQuerySet":
        """Reports of a secret that has not been replaced since, the first one first. Secrets that a rotation had ended
        before the report do not count."""
        return self.leak_reports().exclude(Exists(later_rotations()))

    def replaced_leaks(self) -> "KeyEventQuerySet":
        """Reports of a secret that a later rotation has replaced, the first one first."""
        return self.leak_reports().filter(Exists(later_rotations()))

    def unseen_secrets(self) -> "KeyEventQuerySet":
        """Rotations that made a current secret that nobody has seen: others replaced the holder's leaked one."""
        rotations = self.filter(kind=KeyEvent.Kind.ROTATED, detail__is_shown=False)
        return rotations.exclude(Exists(later_rotations()))

    def leak_reports(self) -> "KeyEventQuerySet":
        return self.filter(kind=KeyEvent.Kind.LEAKED).exclude(detail__has_key="found").order_by("pk")

    def matching(self, text: str) -> "KeyEventQuerySet":
        """Events of keys whose name, id or owner has all words of `text`."""
        matching_events = self
        for word in text.split():
            matching_events = matching_events.filter(
                Q(key__name__icontains=word)
                | Q(key__public_id__icontains=word)
                | Q(key__owner__username__icontains=word)
            )
        return matching_events


class KeyEvent(models.Model):
    """Something that happened to a key: who did it, from where, what changed.

    Written by `keys.actions`; PostgreSQL refuses to change or delete one, by triggers of its own (migration 0007)
    because pgtrigger's can be silenced by a setting.
    """

    class Kind(models.TextChoices):
        ISSUED = "issued", "Issued"
        CHANGED = "changed", "Changed"
        PAUSED = "paused", "Paused"
        RESUMED = "resumed", "Resumed"
        ROTATED = "rotated", "Rotated"
        COLLECTED = "collected", "Secret collected"
        REQUESTED = "requested", "Requested"
        REQUEST_DECLINED = "request_declined", "Request declined"
        REQUEST_WITHDRAWN = "request_withdrawn", "Request withdrawn"
        OLD_SECRET_ENDED = "old_secret_ended", "Old secret ended"
        REVOKED = "revoked", "Revoked"
        TRUSTED = "trusted", "Trust set"
        LEAKED = "leaked", "Found in the open"
        CANARY = "canary_used", "Canary used"

    key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, related_name="events")
    kind = models.CharField(max_length=20, choices=Kind)
    at = models.DateTimeField(auto_now_add=True)
    actor = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    address = models.GenericIPAddressField(null=True)
    detail: "models.JSONField[dict[str, Any], dict[str, Any]]" = models.JSONField(default=dict)

    objects = KeyEventQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "activity"
        ordering = ["-at", "-id"]
        indexes = [
            models.Index(name="key_event_by_time", fields=["-at", "-id"]),
            models.Index(
                KeyTextTransform("old_prefix", "detail"),
                KeyTextTransform("old_last4", "detail"),
                name="key_event_old_secret",
                condition=Q(kind="rotated"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.at:%Y-%m-%d %H:%M} UTC"

    @property
    def is_by_report(self) -> bool:
        """Whether the portal wrote this event because somebody reported a leaked key."""
        if self.actor_id is not None:
            return False
        return self.kind == self.Kind.LEAKED or (
            self.kind == self.Kind.PAUSED and self.detail.get("reason") == LEAK_REASON
        )

    def describe_leak(self, *, with_reporter: bool = True, writing: Writing = ENGLISH) -> str:
        """Where and when a leaked key was found, and who reported it. `with_reporter=False` is for callers who prove no
        more than that they have the secret."""
        where, at, translate = self.detail.get("where"), writing.time(self.at), writing.translate
        place = (
            translate("at “{where}”").format(where=where)
            if where
            else translate("in the open (the report names no location)")
        )
        reported = translate("reported on {at}").format(at=at)
        if self.address and with_reporter:
            reported = translate("reported on {at} from {address}").format(at=at, address=self.address)
        return f"{place}; {reported}"
