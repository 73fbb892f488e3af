"""Prepared keys in the JSON of the management API."""

from typing import Any

from rest_framework import serializers

from keys.actions import collecting
from keys.api.serializers import SCOPES, IssueSerializer
from keys.models import ApiKey, PreparedKey

STATES = ("waiting", "collected", "withdrawn", "expired", "deactivated", "rights")


class PreparedKeySerializer(serializers.Serializer[PreparedKey]):
    """A key that its holder is to collect, or has collected."""

    id = serializers.CharField(source="public_id")
    name = serializers.CharField()
    purpose = serializers.CharField()
    user = serializers.CharField(source="owner.username")
    user_id = serializers.CharField(source="owner.public_id")
    organisation = serializers.CharField(source="organisation.slug", help_text="Its slug.")
    environment = serializers.ChoiceField(choices=ApiKey.Environment.choices)
    scopes = serializers.SerializerMethodField()
    state = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField(
        source="created_by.username", allow_null=True, default=None, help_text="null: the command line."
    )
    collect_by = serializers.DateTimeField(source="expires_at")
    collected_at = serializers.DateTimeField(allow_null=True)
    key_id = serializers.CharField(
        source="key.public_id", allow_null=True, default=None, help_text="Of the key, once it is collected."
    )

    def get_scopes(self, prepared: PreparedKey) -> list[str]:
        scopes: list[str] = prepared.rights["scopes"]
        return scopes

    def get_state(self, prepared: PreparedKey) -> str:
        return collecting.end_reason(prepared) or "waiting"


get_scopes: Any = PreparedKeySerializer.get_scopes
get_scopes._spectacular_annotation = {"field": SCOPES}
get_state: Any = PreparedKeySerializer.get_state
get_state._spectacular_annotation = {
    "field": serializers.ChoiceField(
        choices=STATES,
        help_text="deactivated: its holder is; rights: who prepared it may no longer issue keys.",
    )
}


def serialize_prepared_key(prepared: PreparedKey) -> dict[str, Any]:
    """A prepared key as the API and the commands show it."""
    return dict(PreparedKeySerializer(prepared).data)


class ReadyKeySerializer(PreparedKeySerializer):
    """A prepared key with the message for its holder, in the one answer that shows it."""

    link = serializers.CharField(allow_null=True, help_text="Works once; shown once, not stored.")
    message = serializers.CharField(
        allow_null=True, help_text="The text to send. It has the link and no secret."
    )
    is_mailed = serializers.BooleanField(help_text="Whether it was sent to the holder's e-mail address.")
    notice = serializers.CharField()


class PrepareSerializer(IssueSerializer):
    """As for a key that is issued at once."""
