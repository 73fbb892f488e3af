"""Who is calling: users, their API keys, and what happened to each key."""

import datetime
from typing import Any, ClassVar

import pgtrigger
from django.contrib.auth.models import AbstractUser
from django.contrib.auth.models import UserManager as DjangoUserManager
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from keys.credentials import tokens
from keys.models.querysets import ApiKeyQuerySet, KeyEventQuerySet
from keys.rights.scopes import DEFAULT_PRESET, Scope

PUBLIC_ID_LENGTH = 16
CHANNEL = "hokusai_changes"  # PostgreSQL's NOTIFY; keys.credentials.cache listens

LIMITS = ("requests_per_minute", "monthly_requests", "monthly_bytes")  # of a key; None: default or none


def new_user_id() -> str:
    return "usr_" + tokens.random_base62(PUBLIC_ID_LENGTH)


def new_key_id() -> str:
    return "key_" + tokens.random_base62(PUBLIC_ID_LENGTH)


def default_scopes() -> list[str]:
    return list(DEFAULT_PRESET.scopes)


class UserManager(DjangoUserManager["User"]):
    def named(self, text: str) -> "User":
        """The user of this id (`usr_…`), or of this name. Raises User.DoesNotExist."""
        return self.filter(public_id=text).first() or self.get(username=text)


class User(AbstractUser):
    """A person or a machine that holds keys. `public_id` (`usr_…`) is what MLflow and the logs see."""

    public_id = models.CharField(max_length=20, unique=True, default=new_user_id, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        verbose_name = "user"
        verbose_name_plural = "users"
        triggers = [
            pgtrigger.Trigger(
                name="announce_user",
                when=pgtrigger.After,
                operation=pgtrigger.UpdateOf("is_active", "username", "public_id"),  # type: ignore[no-untyped-call]
                func=f"PERFORM pg_notify('{CHANNEL}', 'user:' || NEW.id); RETURN NEW;",
            )
        ]

    def clean(self) -> None:
        super().clean()
        if self.username.startswith("usr_"):
            raise ValidationError(
                {"username": "A user's name does not begin with usr_: that is how ids begin."}
            )

    def has_rights(self) -> bool:
        """Whether the user is more than a holder of keys."""
        return self.is_staff or self.is_superuser or self.groups.exists() or self.user_permissions.exists()


class ApiKey(models.Model):
    """One key. The secret is not here: only its HMAC, and enough of its ends to recognise it.

    While a rotation overlaps, the previous secret's stand beside it.
    """

    class Environment(models.TextChoices):
        LIVE = "live", "Live"
        TEST = "test", "Test"

    class State(models.TextChoices):
        ACTIVE = "active", "Active"
        ROTATING = "rotating", "Rotating"
        PAUSED = "paused", "Paused"
        EXPIRED = "expired", "Expired"
        REVOKED = "revoked", "Revoked"

    public_id = models.CharField("id", max_length=20, unique=True, default=new_key_id, editable=False)
    name = models.CharField(
        max_length=100, help_text="What you will recognise it by, such as 'nightly training'."
    )
    purpose = models.CharField(max_length=500, blank=True, help_text="Who uses it, where and for what.")
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="api_keys")
    environment = models.CharField(max_length=4, choices=Environment, default=Environment.LIVE)
    scopes = ArrayField(models.CharField(max_length=20), default=default_scopes)
    networks = ArrayField(
        models.CharField(max_length=50), default=list, blank=True, help_text="CIDR; empty: from anywhere."
    )
    patterns = ArrayField(
        models.CharField(max_length=256),
        default=list,
        blank=True,
        help_text="Names of registered models it may write, with * and ?; empty: any.",
    )
    any_owner = models.BooleanField(
        default=False, help_text="May write what belongs to others, or to nobody."
    )
    requests_per_minute = models.IntegerField(
        null=True,
        blank=True,
        help_text="Calls a minute, artifact transfers apart; empty: the portal's default.",
    )
    monthly_requests = models.BigIntegerField(
        null=True, blank=True, help_text="Calls a calendar month (UTC); empty: as many as it likes."
    )
    monthly_bytes = models.BigIntegerField(
        null=True,
        blank=True,
        help_text="Bytes in and out a calendar month (UTC); empty: as many as it likes.",
    )
    is_canary = models.BooleanField(
        default=False,
        editable=False,
        help_text="Laid out to be found: it opens nothing, and its use is told.",
    )
    digest = models.CharField(max_length=64, unique=True, editable=False)
    prefix = models.CharField(max_length=12, editable=False)
    last4 = models.CharField("last 4", max_length=4, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="issued_keys"
    )
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: it does not expire.")
    paused_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_reason = models.CharField(max_length=500, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_address = models.GenericIPAddressField(null=True, blank=True, editable=False)
    last_used_client = models.CharField(max_length=100, blank=True, editable=False)
    previous_digest = models.CharField(max_length=64, unique=True, null=True, blank=True, editable=False)
    previous_prefix = models.CharField(max_length=12, blank=True, editable=False)
    previous_last4 = models.CharField(max_length=4, blank=True, editable=False)
    previous_ends_at = models.DateTimeField(null=True, blank=True, editable=False)
    previous_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    previous_used_address = models.GenericIPAddressField(null=True, blank=True, editable=False)
    previous_used_client = models.CharField(max_length=100, blank=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                name="key_digest_is_hmac_sha256", condition=Q(digest__regex=r"^[0-9a-f]{64}$")
            ),
            models.CheckConstraint(
                name="key_prefix_names_environment",
                condition=Q(environment="live", prefix__startswith="hk_live_")
                | Q(environment="test", prefix__startswith="hk_test_"),
            ),
            models.CheckConstraint(name="key_name_not_empty", condition=~Q(name="")),
            models.CheckConstraint(
                name="key_scopes_known", condition=Q(scopes__contained_by=[scope.value for scope in Scope])
            ),
            models.CheckConstraint(
                name="key_previous_secret_has_end",
                condition=Q(previous_digest=None, previous_ends_at=None)
                | Q(previous_digest__isnull=False, previous_ends_at__isnull=False),
            ),
            models.CheckConstraint(
                name="key_secrets_differ",
                condition=Q(previous_digest=None) | ~Q(previous_digest=F("digest")),
            ),
            *(
                models.CheckConstraint(
                    name=f"key_{limit}_positive", condition=Q(**{limit: None}) | Q(**{f"{limit}__gte": 1})
                )
                for limit in LIMITS
            ),
        ]
        triggers = [
            pgtrigger.Trigger(
                name="announce_key",
                when=pgtrigger.After,
                operation=pgtrigger.UpdateOf(  # type: ignore[no-untyped-call]
                    "digest",
                    "previous_digest",
                    "previous_ends_at",
                    "owner_id",
                    "scopes",
                    "networks",
                    "patterns",
                    "any_owner",
                    *LIMITS,
                    "name",
                    "environment",
                    "expires_at",
                    "paused_at",
                    "revoked_at",
                )
                | pgtrigger.Delete,
                func=f"PERFORM pg_notify('{CHANNEL}', 'key:' || OLD.id); RETURN NULL;",
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.masked})"

    @property
    def masked(self) -> str:
        return f"{self.prefix}…{self.last4}"

    @property
    def used_at(self) -> datetime.datetime | None:
        """When either secret was last used."""
        return max(filter(None, (self.last_used_at, self.previous_used_at)), default=None)

    @property
    def state(self) -> str:
        """What the key is now; revocation outlives expiry, expiry a pause, a pause a rotation."""
        now = timezone.now()
        if self.revoked_at:
            return self.State.REVOKED
        if self.expires_at and self.expires_at <= now:
            return self.State.EXPIRED
        if self.paused_at:
            return self.State.PAUSED
        if self.previous_ends_at and self.previous_ends_at > now:
            return self.State.ROTATING
        return self.State.ACTIVE


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
        REVOKED = "revoked", "Revoked"
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
        indexes = [models.Index(name="key_event_by_time", fields=["-at", "-id"])]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.at:%Y-%m-%d %H:%M} UTC"


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


class Invitation(models.Model):
    """A link with which its user sets a password, once. The link's secret is not here, only its SHA-256."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="invitations")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    accepted_address = models.GenericIPAddressField(null=True)
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                name="invitation_digest_is_sha256", condition=Q(digest__regex=r"^[0-9a-f]{64}$")
            ),
            models.CheckConstraint(
                name="invitation_ends_once", condition=Q(accepted_at=None) | Q(withdrawn_at=None)
            ),
            models.UniqueConstraint(
                name="invitation_one_open_a_user",
                fields=["user"],
                condition=Q(accepted_at=None, withdrawn_at=None),
            ),
        ]

    def __str__(self) -> str:
        return f"Link for {self.user_id}, {self.created_at:%Y-%m-%d %H:%M} UTC"
