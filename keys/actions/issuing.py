"""Issue a key, or take over one that another system issued."""

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.fields.json import KeyTextTransform

from keys.actions import grants
from keys.actions.actor import COMMAND, Actor
from keys.actions.errors import ActionError
from keys.actions.history import record_event
from keys.actions.organisations import organisation_for, validate_also
from keys.actions.rights import serialize_rights, validate_rights, validate_text
from keys.credentials import tokens
from keys.models import ApiKey, KeyEvent, Organisation, User
from keys.rights.scopes import DEFAULT_PRESET


@transaction.atomic
def issue(
    *,
    owner: User,
    name: str,
    environment: str = "live",
    organisation: Organisation | None = None,
    purpose: str = "",
    scopes: Sequence[str] = DEFAULT_PRESET.scopes,
    networks: Sequence[str] = (),
    patterns: Sequence[str] = (),
    any_owner: bool = False,
    only_own: bool = False,
    also_organisations: Sequence[str] = (),
    requests_per_minute: int | None = None,
    monthly_requests: int | None = None,
    monthly_bytes: int | None = None,
    expires_at: datetime.datetime | None = None,
    is_canary: bool = False,
    actor: Actor = COMMAND,
) -> tuple[ApiKey, str]:
    """Issue a key to `owner`. Returns the row and the secret, which is stored nowhere.

    `is_canary`: the key gives no access and is refused like an unknown one; its use raises an alert.
    `organisation`: to which the key belongs for ever; by default the owner's only one, or `shared`.
    `also_organisations`: slugs of others in which a key of staff may act (`organisations.validate_also`).
    `requests_per_minute` None means the portal's default; None for a monthly limit means no limit.
    Raises NotAllowed for a superuser's key if the actor is none, ActionError for invalid rights, and
    `tokens.InvalidToken` for an unknown environment.
    """
    token = tokens.generate(environment)
    rights = validate_key(
        owner=owner,
        name=name,
        purpose=purpose,
        environment=environment,
        rights={
            "scopes": scopes,
            "networks": networks,
            "patterns": patterns,
            "any_owner": any_owner,
            "only_own": only_own,
            "requests_per_minute": requests_per_minute,
            "monthly_requests": monthly_requests,
            "monthly_bytes": monthly_bytes,
            "expires_at": expires_at,
        },
        actor=actor,
    )
    key = create_key(
        owner=owner,
        name=name,
        purpose=purpose,
        environment=environment,
        organisation=organisation,
        also_organisations=validate_also(owner, also_organisations, actor),
        is_canary=is_canary,
        rights=rights,
        secret=secret_fields(token),
        actor=actor,
    )
    return key, token.secret


def create_key(
    *,
    owner: User,
    organisation: Organisation | None,
    rights: dict[str, Any],
    secret: dict[str, str],
    actor: Actor,
    detail: dict[str, Any] | None = None,
    **columns: Any,
) -> ApiKey:
    """Write a key's row and its event. `rights`: as `validate_key` returns them; `secret`: as `secret_fields` does;
    `detail`: what the event says besides the rights."""
    key = ApiKey.objects.create(
        owner=owner,
        organisation=organisation_for(owner, organisation),
        **columns,
        **rights,
        **secret,
        created_by=actor.user,
    )
    detail = serialize_rights(rights) | (detail or {}) | ({"is_canary": True} if key.is_canary else {})
    if not key.organisation.is_shared:
        detail["organisation"] = key.organisation.slug
    detail |= {"also_organisations": key.also_organisations} if key.also_organisations else {}
    record_event(key, KeyEvent.Kind.ISSUED, actor=actor, **detail)
    return key


@dataclass(frozen=True, kw_only=True)
class ImportedSecret:
    """The secret of a key that another system issued. `digests`: under each pepper, the newest first; one of an
    unknown pepper if the secret itself is unknown. `prefix` and `last4`: as `secret_fields` has them."""

    environment: str
    digests: tuple[str, ...]
    prefix: str
    last4: str

    @classmethod
    def of_token(cls, token: tokens.Token) -> "ImportedSecret":
        return cls(
            environment=token.environment,
            digests=tuple(tokens.digests(token, settings.KEY_PEPPERS)),
            prefix=token.prefix,
            last4=token.last4,
        )

    @property
    def marks(self) -> tuple[str, ...]:
        """By which a later import recognises the secret in the key's event, although a key's digest changes when it is
        rotated or moves to another pepper. They reveal no digest."""
        return tuple(hashlib.sha256(digest.encode()).hexdigest() for digest in self.digests)


@transaction.atomic
def import_key(
    *,
    owner: User,
    name: str,
    secret: ImportedSecret,
    organisation: Organisation | None = None,
    purpose: str = "",
    scopes: Sequence[str] = DEFAULT_PRESET.scopes,
    networks: Sequence[str] = (),
    patterns: Sequence[str] = (),
    expires_at: datetime.datetime | None = None,
    actor: Actor = COMMAND,
    **detail: Any,
) -> ApiKey:
    """Take over a key that another system issued: its secret works here from now on. `detail`: for the event. Raises
    ActionError for invalid rights, and if a key here has or had this secret."""
    if known := ApiKey.objects.for_digests(list(secret.digests)).with_owner().first():
        raise ActionError(f"this key is here already, as {known.public_id} of {known.owner.username}")
    given = {"scopes": scopes, "networks": networks, "patterns": patterns, "expires_at": expires_at}
    environment = secret.environment
    rights = validate_key(
        owner=owner, name=name, purpose=purpose, environment=environment, rights=given, actor=actor
    )
    return create_key(
        owner=owner,
        name=name,
        purpose=purpose,
        environment=environment,
        organisation=organisation,
        rights=rights,
        secret={"digest": secret.digests[0], "prefix": secret.prefix, "last4": secret.last4},
        actor=actor,
        detail={**detail, "imported": secret.marks[0]},
    )


def imported_marks() -> set[str]:
    """The marks of all secrets that were ever imported."""
    imported = KeyEvent.objects.filter(kind=KeyEvent.Kind.ISSUED, detail__has_key="imported")
    marked = imported.annotate(mark=KeyTextTransform("imported", "detail"))
    return set(marked.values_list("mark", flat=True))


def validate_key(
    *, owner: User, name: str, purpose: str, environment: str, rights: dict[str, Any], actor: Actor
) -> dict[str, Any]:
    """The rights of a new key in their stored form. Raises ActionError, and NotAllowed if the actor may not issue such
    a key to this owner."""
    grants.check_owner(owner.pk, actor)
    if environment == ApiKey.Environment.TEST and not settings.MLFLOW_TEST_URL:
        raise ActionError(
            "there is no test registry (MLFLOW_TEST_URL is not set), so every call with a test key would be refused; "
            "issue a live key"
        )
    validate_text("name", name)
    validate_text("purpose", purpose)
    rights = validate_rights(rights)
    grants.check_scopes(rights["scopes"], owner_id=owner.pk, environment=environment, actor=actor)
    return rights


def secret_fields(token: tokens.Token) -> dict[str, str]:
    """The columns that stand for a secret: its digest, and what people recognise it by."""
    return {
        "digest": tokens.digest(token, settings.KEY_PEPPERS[0]),
        "prefix": token.prefix,
        "last4": token.last4,
    }
