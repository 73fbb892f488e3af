"""Keys that administrators prepared, and that their holders have yet to collect."""

from typing import Any

from django.db import models
from django.db.models import Q, Value
from django.utils import timezone

from keys.models.api_keys import ApiKey
from keys.models.organisations import SHARED_ID, Organisation
from keys.models.public_ids import new_prepared_key_id
from keys.models.users import User


class PreparedKeyQuerySet(models.QuerySet["PreparedKey"]):
    def with_people(self) -> "PreparedKeyQuerySet":
        return self.select_related("owner", "created_by", "key", "organisation")

    def waiting(self) -> "PreparedKeyQuerySet":
        """Those that can still be collected."""
        return self.filter(
            collected_at=None, withdrawn_at=None, expires_at__gt=timezone.now(), owner__is_active=True
        )


class PreparedKey(models.Model):
    """What an administrator granted: a key with these rights for this owner. The key and its secret are made when the
    owner collects it, once, signed in; until then there is no secret. The link's own secret is not here either, only
    its SHA-256."""

    public_id = models.CharField(max_length=21, unique=True, default=new_prepared_key_id, editable=False)
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="prepared_keys")
    organisation = models.ForeignKey(
        Organisation,
        on_delete=models.PROTECT,
        default=SHARED_ID,
        db_default=Value(SHARED_ID),
        related_name="+",
    )
    name = models.CharField(max_length=100)
    purpose = models.CharField(max_length=500, blank=True)
    environment = models.CharField(max_length=4, choices=ApiKey.Environment, default=ApiKey.Environment.LIVE)
    rights: "models.JSONField[dict[str, Any], dict[str, Any]]" = models.JSONField(
        help_text="Scopes, limits and expiry, as the event of the issue stores them."
    )
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    expires_at = models.DateTimeField(help_text="Of the link, and of the right to collect the key.")
    collected_at = models.DateTimeField(null=True)
    collected_address = models.GenericIPAddressField(null=True)
    withdrawn_at = models.DateTimeField(null=True)
    key = models.OneToOneField(ApiKey, on_delete=models.PROTECT, null=True, related_name="prepared")

    objects = PreparedKeyQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                name="prepared_digest_is_sha256", condition=Q(digest__regex=r"^[0-9a-f]{64}$")
            ),
            models.CheckConstraint(name="prepared_name_not_empty", condition=~Q(name="")),
            models.CheckConstraint(
                name="prepared_environment_known", condition=Q(environment__in=ApiKey.Environment.values)
            ),
            models.CheckConstraint(
                name="prepared_ends_once", condition=Q(collected_at=None) | Q(withdrawn_at=None)
            ),
            models.UniqueConstraint(
                name="prepared_one_open_a_name",
                fields=["owner", "name"],
                condition=Q(collected_at=None, withdrawn_at=None),
            ),
            models.CheckConstraint(
                name="prepared_collected_is_a_key",
                condition=Q(collected_at=None, key=None) | Q(collected_at__isnull=False, key__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} for {self.owner_id}"
