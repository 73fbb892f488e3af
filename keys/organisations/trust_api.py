"""Trusts over the management API: an organisation's owner and administrators add, change and try them."""

from typing import Any

from rest_framework import serializers

from keys.api.serializers import KeySerializer
from keys.models import Trust


class TrustSerializer(KeySerializer):
    """A trust: its key, without a secret, and whose tokens act as it."""

    issuer = serializers.CharField(source="trust.issuer", help_text="The claim iss of the tokens.")
    audience = serializers.CharField(source="trust.audience", help_text="The claim aud of the tokens.")
    conditions = serializers.DictField(
        source="trust.conditions",
        child=serializers.ListField(child=serializers.CharField()),
        help_text="Claims and their globs: each claim must match one of its globs.",
    )
    has_key_set = serializers.SerializerMethodField(help_text="Whether the issuer's key set was uploaded.")
    is_private = serializers.BooleanField(
        source="trust.is_private",
        help_text="Whether the portal may fetch the key set from a private address.",
    )

    def get_has_key_set(self, key: Any) -> bool:
        return key.trust.key_set is not None


def serialize_trust(trust: Trust) -> dict[str, Any]:
    return dict(TrustSerializer(trust.key).data)
