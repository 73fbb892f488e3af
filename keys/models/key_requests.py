"""What holders request of administrators: a new key, a later expiry, or more rights."""

from collections.abc import Callable

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q, Value

from keys.models.api_keys import ApiKey
from keys.models.organisations import SHARED_ID, Organisation
from keys.models.prepared_keys import PreparedKey
from keys.models.public_ids import new_key_request_id
from keys.models.users import User
from keys.rights.scopes import PORTAL, Scope, find_preset

REQUESTABLE = [scope.value for scope in Scope if scope not in PORTAL]
MOST_DAYS = 3650
DESCRIPTIONS = {
    "new": "a new key “{name}” ({what})",
    "renewal": "a later expiry of “{name}” ({what})",
    "scope": "more rights for “{name}” ({what})",
}


def describe_requested(scopes: list[str], days: int | None, translate: Callable[[str], str] = str) -> str:
    """What a holder requests: "contributor, for 90 days". Pages pass gettext as `translate`."""
    preset = find_preset(scopes)
    parts = [translate(preset.value) if preset else ", ".join(scopes)] if scopes else []
    return ", ".join([*parts, *([translate("for {days} days").format(days=days)] if days else [])])


class KeyRequestQuerySet(models.QuerySet["KeyRequest"]):
    def with_people(self) -> "KeyRequestQuerySet":
        return self.select_related("user", "key__owner", "decided_by", "prepared", "organisation")

    def open(self) -> "KeyRequestQuerySet":
        """Those that wait for a decision, the oldest first; those of deactivated users wait for nothing."""
        return self.filter(state=KeyRequest.State.OPEN, user__is_active=True).order_by("created_at", "id")


class KeyRequest(models.Model):
    """A request of a holder, and what an administrator decided, or that the holder withdrew it.

    `scopes`: all that the key is to have; empty for a later expiry. `days`: how long the key is to work from the
    approval on; None: the expiry is left to the key.
    """

    class Kind(models.TextChoices):
        NEW = "new", "New key"
        RENEWAL = "renewal", "Later expiry"
        SCOPE = "scope", "More rights"

    class State(models.TextChoices):
        OPEN = "open", "Open"
        APPROVED = "approved", "Approved"
        DECLINED = "declined", "Declined"
        WITHDRAWN = "withdrawn", "Withdrawn"

    public_id = models.CharField(max_length=21, unique=True, default=new_key_request_id, editable=False)
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="key_requests")
    kind = models.CharField(max_length=10, choices=Kind)
    key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, null=True, related_name="requests")
    organisation = models.ForeignKey(
        Organisation,
        on_delete=models.PROTECT,
        default=SHARED_ID,
        db_default=Value(SHARED_ID),
        related_name="+",
    )
    name = models.CharField(max_length=100, blank=True, help_text="Of a new key.")
    scopes = ArrayField(models.CharField(max_length=20), default=list, blank=True)
    days = models.PositiveIntegerField(null=True)
    note = models.CharField(max_length=500, blank=True, help_text="Why the holder needs it.")
    state = models.CharField(max_length=10, choices=State, default=State.OPEN)
    created_at = models.DateTimeField(auto_now_add=True)
    address = models.GenericIPAddressField(null=True)
    decided_at = models.DateTimeField(null=True)
    decided_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    reason = models.CharField(max_length=500, blank=True, help_text="Why it was declined.")
    prepared = models.OneToOneField(
        PreparedKey, on_delete=models.PROTECT, null=True, related_name="request", help_text="Of a new key."
    )

    objects = KeyRequestQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                name="request_is_for_a_key_or_a_new_one",
                condition=(Q(kind="new", key=None) & ~Q(name=""))
                | Q(kind__in=["renewal", "scope"], key__isnull=False, name=""),
            ),
            models.CheckConstraint(
                name="request_asks_for_something",
                condition=Q(kind="renewal", scopes=[], days__isnull=False)
                | Q(kind="scope", scopes__len__gte=1, days=None)
                | Q(kind="new", scopes__len__gte=1, days__isnull=False),
            ),
            models.CheckConstraint(
                name="request_days_are_possible",
                condition=Q(days=None) | Q(days__gte=1, days__lte=MOST_DAYS),
            ),
            models.CheckConstraint(
                name="request_decided_once",
                condition=Q(state="open", decided_at=None)
                | Q(state__in=["approved", "declined", "withdrawn"], decided_at__isnull=False),
            ),
            models.CheckConstraint(
                name="request_declined_with_reason", condition=~Q(state="declined") | ~Q(reason="")
            ),
            models.UniqueConstraint(
                name="request_one_open_a_key",
                fields=["key", "kind"],
                condition=Q(state="open", key__isnull=False),
            ),
            models.UniqueConstraint(
                name="request_one_open_new_key", fields=["user"], condition=Q(state="open", kind="new")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.public_id}"

    @property
    def words(self) -> str:
        """The request in a few words: "more rights for “training” (contributor)"."""
        return self.describe()

    def describe(self, translate: Callable[[str], str] = str) -> str:
        """`words`, as a page shows it with gettext as `translate`."""
        name = self.key.name if self.key else self.name
        return translate(DESCRIPTIONS[self.kind]).format(
            name=name, what=describe_requested(self.scopes, self.days, translate)
        )
