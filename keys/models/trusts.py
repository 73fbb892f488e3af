"""Trusts: keys without a secret. A token that the trust's issuer signed, with the right claims, acts as the key."""

import pgtrigger
from django.db import models
from django.db.models import OuterRef, Q, Subquery

from keys.models.api_keys import ApiKey
from keys.models.changes import CHANNEL

SUBJECT_LENGTH = 500


class TrustQuerySet(models.QuerySet["Trust"]):
    def with_key(self) -> "TrustQuerySet":
        return self.select_related("key__owner", "key__organisation")

    def with_calls(self) -> "TrustQuerySet":
        """With `calls_in_month`, as keys have it."""
        key = ApiKey.objects.filter(pk=OuterRef("key_id")).order_by().with_calls()
        return self.annotate(calls_in_month=Subquery(key.values("calls_in_month")))  # type: ignore[misc]

    def in_state(self, state: str) -> "TrustQuerySet":
        return self.filter(key__in=ApiKey.objects.in_state(state))

    def matching(self, text: str) -> "TrustQuerySet":
        """Trusts whose name, id or issuer has all words of `text`."""
        trusts = self
        for word in text.replace("\0", "").split():
            found = Q(key__name__icontains=word) | Q(issuer__icontains=word) | Q(key__public_id=word)
            trusts = trusts.filter(found)
        return trusts


class Trust(models.Model):
    """Whose tokens act as a key, and under which conditions.

    The key has everything else: name, owner, organisation, scopes, limits, pause, revocation, history. It has no
    secret, so nothing but such a token, or a key that was exchanged for one, acts as it.
    """

    key = models.OneToOneField(ApiKey, on_delete=models.PROTECT, related_name="trust")
    issuer = models.CharField(
        max_length=500, help_text="The claim iss, exactly as in the tokens, such as https://gitlab.com."
    )
    audience = models.CharField(max_length=500, help_text="The claim aud must be it, or contain it.")
    conditions: "models.JSONField[dict[str, list[str]], dict[str, list[str]]]" = models.JSONField(
        help_text="Claims and their globs: each claim must match one of its globs."
    )
    key_set: "models.JSONField[dict[str, object] | None, dict[str, object] | None]" = models.JSONField(
        null=True, blank=True, help_text="The issuer's JWK set, if the portal cannot fetch it."
    )
    is_private = models.BooleanField(
        default=False, help_text="The portal may fetch the issuer's key set from a private address."
    )
    ca = models.TextField(
        blank=True,
        help_text="PEM certificates that the issuer's server is verified with; empty: the system's.",
    )

    objects = TrustQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(
                name="trust_names_issuer_and_audience", condition=~Q(issuer="") & ~Q(audience="")
            ),
            models.CheckConstraint(name="trust_has_conditions", condition=~Q(conditions={})),
        ]
        triggers = [
            pgtrigger.Trigger(
                name="announce_trust",
                when=pgtrigger.After,
                operation=pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete,
                func=f"PERFORM pg_notify('{CHANNEL}', 'trust:' || COALESCE(NEW.id, OLD.id)); RETURN NULL;",
            ),
        ]

    def __str__(self) -> str:
        return self.key.name

    def describe_conditions(self) -> list[str]:
        return [f"{name}={glob}" for name, globs in self.conditions.items() for glob in globs]


class ExchangedKey(models.Model):
    """A key for up to an hour, issued for a token of a trust's issuer. It acts as the trust's key, and ends with it."""

    trust = models.ForeignKey(Trust, on_delete=models.CASCADE, related_name="exchanged_keys")
    digest = models.CharField(max_length=64, unique=True)
    subject = models.CharField(max_length=SUBJECT_LENGTH)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(
                name="exchanged_key_digest_is_hmac_sha256", condition=Q(digest__regex=r"^[0-9a-f]{64}$")
            ),
        ]
        triggers = [
            pgtrigger.Trigger(
                name="announce_exchanged_key",
                when=pgtrigger.After,
                operation=pgtrigger.Delete,
                func=f"PERFORM pg_notify('{CHANNEL}', 'exchanged:' || OLD.digest); RETURN NULL;",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.trust}: {self.subject}"
