"""Keys, events and users in the JSON of the management API."""

import datetime
import hashlib
import json
from dataclasses import asdict
from typing import Any, ClassVar

from django.utils import timezone
from rest_framework import serializers

from keys import actions
from keys.actions.overlaps import OVERLAPS
from keys.api.fields import JsonObject, OrganisationField, TimeField
from keys.formatting import durations
from keys.lists.event_words import describe_actor
from keys.lists.old_secret import OldSecretUse
from keys.models import ApiKey, KeyEvent, User
from keys.rights.roles import Role
from keys.rights.scopes import DEFAULT_PRESET, Preset, Scope

SCOPES = serializers.ListField(child=serializers.ChoiceField(choices=[scope.value for scope in Scope]))
VOLATILE = frozenset({"last_used_at", "last_used_address", "last_used_client", "previous"})


# What the framework would read as something else: 7 as "7", "7" and 7.0 as 7, "no" and 0 as false.
JSON_TYPES: tuple[tuple[type[serializers.Field[Any, Any, Any, Any]], type, str], ...] = (
    (serializers.BooleanField, bool, "true or false, without quotes"),
    (serializers.IntegerField, int, "a whole number, without quotes"),
    (serializers.CharField, str, "a string"),
    (serializers.ChoiceField, str, "a string"),
    (serializers.DateTimeField, str, "a string"),
    (serializers.SlugRelatedField, str, "a string"),
)


class StrictSerializer(serializers.Serializer[Any]):
    """Rejects unknown fields, which the framework would drop silently, and values of another JSON type than the schema
    states."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            if unknown := set(data) - set(self.fields):
                raise serializers.ValidationError({str(name)[:100]: ["No such field."] for name in unknown})
            if wrong := {
                name: texts for name in data if (texts := find_type_errors(self.fields[name], data[name]))
            }:
                raise serializers.ValidationError(wrong)
        return super().to_internal_value(data)


def find_type_errors(field: Any, value: Any) -> list[str]:
    """Error texts for a value of the wrong JSON type. null is left to the field."""
    if isinstance(field, serializers.ListField) and isinstance(value, list):
        return next((texts for each in value if (texts := find_type_errors(field.child, each))), [])
    for kind, wanted, words in JSON_TYPES:
        if isinstance(field, kind) and value is not None and type(value) is not wanted:
            return [f"Send {words}."]
    return []


class PreviousSecretSerializer(serializers.Serializer[ApiKey]):
    """The secret from before the last rotation, while it works or is remembered."""

    masked = serializers.CharField(source="previous_masked")
    ends_at = serializers.DateTimeField(source="previous_ends_at")
    used_at = serializers.DateTimeField(source="previous_used_at", allow_null=True)
    used_address = serializers.CharField(source="previous_used_address", allow_null=True)
    used_client = serializers.CharField(source="previous_used_client")


class OldSecretCallerSerializer(serializers.Serializer[Any]):
    address = serializers.CharField(allow_null=True)
    client = serializers.CharField(help_text="The User-Agent.")
    calls = serializers.IntegerField()
    last_at = serializers.DateTimeField()


class OldSecretUseSerializer(serializers.Serializer[Any]):
    """Who has used the secret from before the last rotation, since the rotation."""

    previous = PreviousSecretSerializer(allow_null=True)
    calls = serializers.IntegerField(help_text="Refused calls included.")
    is_cut = serializers.BooleanField(help_text="Whether there are more: the latest 10,000 were counted.")
    callers = OldSecretCallerSerializer(many=True, help_text="The most frequent ten.")


def serialize_old_secret_use(key: ApiKey, use: OldSecretUse) -> dict[str, Any]:
    """The use of a key's old secret as the API and the command show it."""
    return dict(
        OldSecretUseSerializer({"previous": key if key.previous_digest else None, **asdict(use)}).data
    )


class KeySerializer(serializers.Serializer[ApiKey]):
    """A key; never its secret."""

    id = serializers.CharField(source="public_id")
    name = serializers.CharField()
    purpose = serializers.CharField()
    user = serializers.CharField(source="owner.username")
    user_id = serializers.CharField(source="owner.public_id")
    organisation = serializers.CharField(
        source="organisation.slug", help_text="Its slug. What the key creates belongs to it."
    )
    environment = serializers.ChoiceField(choices=ApiKey.Environment.choices)
    masked = serializers.CharField()
    state = serializers.ChoiceField(choices=ApiKey.State.choices)
    scopes = SCOPES
    warnings = serializers.ListField(child=serializers.CharField(), source="missing_reads")
    networks = serializers.ListField(child=serializers.CharField())
    patterns = serializers.ListField(child=serializers.CharField())
    any_owner = serializers.BooleanField()
    only_own = serializers.BooleanField(
        help_text="Whether it may write only what its own user created, not what others of the organisation did."
    )
    is_canary = serializers.BooleanField(
        help_text="A decoy: it grants nothing, and each use of it sends an alert."
    )
    requests_per_minute = serializers.IntegerField(allow_null=True)
    monthly_requests = serializers.IntegerField(allow_null=True)
    monthly_bytes = serializers.IntegerField(allow_null=True)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    paused_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    revoked_reason = serializers.CharField()
    last_used_at = serializers.DateTimeField(source="used_at", allow_null=True)
    last_used_address = serializers.CharField(allow_null=True)
    last_used_client = serializers.CharField()
    previous = serializers.SerializerMethodField()

    def get_previous(self, key: ApiKey) -> dict[str, Any] | None:
        return PreviousSecretSerializer(key).data if key.previous_digest else None


get_previous: Any = KeySerializer.get_previous
get_previous._spectacular_annotation = {"field": PreviousSecretSerializer(allow_null=True)}


def serialize_key(key: ApiKey) -> dict[str, Any]:
    """A key as the API and the commands show it; no secret."""
    return dict(KeySerializer(key).data)


def etag(key: ApiKey) -> str:
    """Names what the key is and may do: another one after each change, the same however often it is used."""
    lasting = {name: value for name, value in serialize_key(key).items() if name not in VOLATILE}
    digest = hashlib.sha256(json.dumps([lasting, key.digest], sort_keys=True).encode()).hexdigest()
    return f'"{digest[:32]}"'


class NewKeySerializer(KeySerializer):
    """A key with its secret, in the one answer that shows it."""

    key = serializers.CharField(allow_null=True, help_text="The secret: shown once, not stored.")
    notice = serializers.CharField(help_text="What to do with it, or why it is not here.")


class RotatedKeySerializer(NewKeySerializer):
    """A rotated key with its secret. That of a leaked key of somebody else is null: the message is for its holder."""

    link = serializers.CharField(allow_null=True, help_text="The message's link; null unless the key leaked.")
    message = serializers.CharField(
        allow_null=True, help_text="The text to send to the holder. It has the link and no secret."
    )
    is_mailed = serializers.BooleanField(help_text="Whether it was sent to the holder's e-mail address.")


def parse_from_now(text: str) -> datetime.datetime:
    """The time that the field expires_in means."""
    try:
        return timezone.now() + durations.parse_duration(text)
    except ValueError as error:
        raise serializers.ValidationError({"expires_in": [str(error)]}) from None


class RightsSerializer(StrictSerializer):
    """What a key may do. Each value is checked as `keys.actions` checks it."""

    purpose = serializers.CharField(max_length=500, allow_blank=True, required=False)
    networks = serializers.ListField(
        child=serializers.CharField(max_length=50),
        max_length=100,
        required=False,
        help_text="CIDR; empty: anywhere.",
    )
    patterns = serializers.ListField(
        child=serializers.CharField(max_length=256),
        max_length=100,
        required=False,
        help_text="Names of registered models that it may write, with * and ?; empty: any.",
    )
    any_owner = serializers.BooleanField(
        required=False, help_text="May write what belongs to others, or to nobody."
    )
    only_own = serializers.BooleanField(
        required=False,
        help_text="May write only what its own user created, not what others of the organisation did.",
    )
    requests_per_minute = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=2**31 - 1,
        help_text="null: the portal's default.",
    )
    monthly_requests = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, max_value=2**53, help_text="null: no limit."
    )
    monthly_bytes = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=2**53,
        help_text="null: the portal's default, or no limit.",
    )
    expires_at = TimeField(required=False, allow_null=True, help_text="null: it does not expire.")
    expires_in = serializers.CharField(
        required=False,
        max_length=6,
        error_messages={"max_length": "At most 99999, and m, h, d or w: 30m, 12h, 90d or 4w."},
        help_text="Instead of expires_at: 30m, 12h, 90d, 4w from now.",
    )
    preset = serializers.ChoiceField(
        choices=[preset.value for preset in Preset], required=False, help_text="Instead of scopes."
    )
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=[scope.value for scope in Scope]),
        required=False,
        min_length=1,
        max_length=len(Scope),
    )
    either: ClassVar[tuple[tuple[str, str], ...]] = (("preset", "scopes"), ("expires_at", "expires_in"))

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        for one, other in self.either:
            if one in attrs and other in attrs:
                raise serializers.ValidationError({other: [f"Give {one} or {other}, not both."]})
        if preset := attrs.pop("preset", None):
            attrs["scopes"] = list(Preset(preset).scopes)
        if (text := attrs.pop("expires_in", None)) is not None:
            attrs["expires_at"] = parse_from_now(text)
        for name in actions.RIGHTS:
            if name in attrs:
                attrs[name] = self.checked(name, attrs[name])
        return attrs

    def checked(self, name: str, value: Any) -> Any:
        try:
            return actions.validate_rights({name: value})[name]
        except actions.ActionError as error:
            raise serializers.ValidationError({name: [str(error)]}) from None


class IssueSerializer(RightsSerializer):
    user = serializers.CharField(
        max_length=150, help_text="The name or id (usr_…) of an existing user, who will own the key."
    )
    name = serializers.CharField(max_length=100, help_text="A name by which you recognise it.")
    organisation = OrganisationField(
        required=False,
        default=serializers.empty,
        help_text="The slug of the organisation to which the key belongs for ever. By default the user's only one, "
        "or the one of users without any.",
    )
    environment = serializers.ChoiceField(choices=ApiKey.Environment.choices, default="live")
    is_canary = serializers.BooleanField(
        required=False, help_text="Make a decoy: it grants nothing, and each use of it sends an alert."
    )

    def validate_user(self, value: str) -> User:
        try:
            owner = User.objects.named(value)
        except User.DoesNotExist:
            raise serializers.ValidationError("There is no such user. POST /api/v1/users adds one.") from None
        if not owner.is_active:
            raise serializers.ValidationError("This account is deactivated.")
        return owner

    def rights(self) -> dict[str, Any]:
        """For `actions.issue`."""
        rights = dict(self.validated_data)
        return {"owner": rights.pop("user"), "scopes": DEFAULT_PRESET.scopes, **rights}


class ChangeSerializer(RightsSerializer):
    name = serializers.CharField(
        max_length=100, required=False, help_text="A name by which you recognise it."
    )


class ReasonSerializer(StrictSerializer):
    reason = serializers.CharField(
        max_length=500, allow_blank=True, default="", help_text="Kept in the key's history."
    )


class NothingSerializer(StrictSerializer):
    """An empty object, or no body."""


class RotateSerializer(StrictSerializer):
    overlap = serializers.ChoiceField(
        choices=list(OVERLAPS), default="24h", help_text="How long the old secret still works."
    )
    expires_at = TimeField(
        required=False,
        allow_null=True,
        help_text="Another expiry; null: never. Without it, the expiry stays.",
    )
    expires_in = serializers.CharField(
        required=False, max_length=6, help_text="Instead of expires_at: 30m, 12h, 90d, 4w from now."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "expires_at" in attrs and "expires_in" in attrs:
            raise serializers.ValidationError({"expires_in": ["Give expires_at or expires_in, not both."]})
        if (text := attrs.pop("expires_in", None)) is not None:
            attrs["expires_at"] = parse_from_now(text)
        return attrs


class EventSerializer(serializers.Serializer[KeyEvent]):
    """Something that happened to a key."""

    at = serializers.DateTimeField()
    kind = serializers.ChoiceField(choices=KeyEvent.Kind.choices)
    actor = serializers.CharField(
        source="actor.username",
        allow_null=True,
        default=None,
        help_text="null: the command line, or the report of a leaked key.",
    )
    by = serializers.SerializerMethodField(
        help_text="The actor's name, or “command line”, “leak report” or “unknown caller”."
    )
    address = serializers.CharField(allow_null=True)
    detail = JsonObject()

    def get_by(self, event: KeyEvent) -> str:
        return describe_actor(event)


class ActivitySerializer(EventSerializer):
    """Something that happened to a key, and which."""

    key_id = serializers.CharField(source="key.public_id")
    key = serializers.CharField(source="key.name")
    user = serializers.CharField(source="key.owner.username")


class UserSerializer(serializers.Serializer[User]):
    """A person or a machine that holds keys."""

    id = serializers.CharField(source="public_id")
    name = serializers.CharField(source="username")
    email = serializers.CharField()
    role = serializers.ChoiceField(choices=[role.value for role in Role])
    is_active = serializers.BooleanField()
    is_staff = serializers.BooleanField()
    is_superuser = serializers.BooleanField()
    created_at = serializers.DateTimeField(source="date_joined")
    last_sign_in_at = serializers.DateTimeField(source="last_login", allow_null=True)


class NewUserSerializer(StrictSerializer):
    name = serializers.RegexField(r"^[\w.@+-]{1,150}\Z", help_text="Letters, digits and @ . + - _")
    email = serializers.EmailField(default="", allow_blank=True, max_length=254)


class InvitationSerializer(serializers.Serializer[Any]):
    user = UserSerializer()
    link = serializers.CharField(allow_null=True, help_text="Works once; shown once, not stored.")
    is_mailed = serializers.BooleanField(help_text="Whether it was also sent to the user's e-mail address.")
    expires_at = serializers.DateTimeField()
    notice = serializers.CharField()


class WithdrawnSerializer(serializers.Serializer[Any]):
    withdrawn = serializers.BooleanField(help_text="Whether there was an open link.")


class ShutOutSerializer(serializers.Serializer[Any]):
    user = UserSerializer()
    paused = serializers.ListField(
        child=serializers.CharField(), help_text="Ids of the user's keys that are paused."
    )


class MeSerializer(serializers.Serializer[Any]):
    """Who is calling, with which key, and what it may do here."""

    user = UserSerializer()
    key = KeySerializer(allow_null=True)
    permissions = serializers.ListField(
        child=serializers.CharField(), help_text="What the user may do as staff, for everybody's rows."
    )
