"""Who is calling: users, their API keys, and what happened to each key."""

import datetime
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser
from django.contrib.auth.models import UserManager as DjangoUserManager
from django.db import models
from django.db.models import Q
from django.utils import timezone

from keys import tokens

PUBLIC_ID_LENGTH = 16


def new_user_id() -> str:
    return "usr_" + tokens.random_base62(PUBLIC_ID_LENGTH)


def new_key_id() -> str:
    return "key_" + tokens.random_base62(PUBLIC_ID_LENGTH)


class User(AbstractUser):
    """A person or a machine that holds keys. `public_id` (`usr_…`) is what MLflow and the logs see."""

    public_id = models.CharField(max_length=20, unique=True, default=new_user_id, editable=False)

    objects: ClassVar[DjangoUserManager["User"]] = DjangoUserManager()  # type: ignore[assignment]

    class Meta:
        verbose_name = "user"
        verbose_name_plural = "users"


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def with_owner(self) -> "ApiKeyQuerySet":
        return self.select_related("owner")

    def for_digests(self, digests: list[str]) -> "ApiKeyQuerySet":
        return self.filter(digest__in=digests)

    def active(self, *, now: datetime.datetime | None = None) -> "ApiKeyQuerySet":
        now = now or timezone.now()
        return self.filter(revoked_at=None, owner__is_active=True).filter(
            Q(expires_at=None) | Q(expires_at__gt=now)
        )


class ApiKey(models.Model):
    """One key. The secret is not here: only its HMAC, and enough of its ends to recognise it."""

    class Environment(models.TextChoices):
        LIVE = "live", "Live"
        TEST = "test", "Test"

    public_id = models.CharField("id", max_length=20, unique=True, default=new_key_id, editable=False)
    name = models.CharField(
        max_length=100, help_text="What you will recognise it by, such as 'nightly training'."
    )
    purpose = models.CharField(max_length=500, blank=True, help_text="Who uses it, where and for what.")
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="api_keys")
    environment = models.CharField(max_length=4, choices=Environment, default=Environment.LIVE)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    prefix = models.CharField(max_length=12, editable=False)
    last4 = models.CharField("last 4", max_length=4, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="issued_keys"
    )
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: it does not expire.")
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

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
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.masked})"

    @property
    def masked(self) -> str:
        return f"{self.prefix}…{self.last4}"

    @property
    def state(self) -> str:
        """`active`, `revoked` or `expired`; revocation outlives expiry."""
        if self.revoked_at:
            return "revoked"
        if self.expires_at and self.expires_at <= timezone.now():
            return "expired"
        return "active"


class KeyEvent(models.Model):
    """Something that happened to a key: who did it, from where, what changed. Written by `keys.actions`."""

    class Kind(models.TextChoices):
        ISSUED = "issued", "Issued"
        REVOKED = "revoked", "Revoked"

    key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, related_name="events")
    kind = models.CharField(max_length=20, choices=Kind)
    at = models.DateTimeField(auto_now_add=True)
    actor = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    address = models.GenericIPAddressField(null=True)
    detail: "models.JSONField[dict[str, Any], dict[str, Any]]" = models.JSONField(default=dict)

    class Meta:
        ordering = ["-at", "-id"]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.at:%Y-%m-%d %H:%M} UTC"
