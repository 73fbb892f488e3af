"""Actions on trusts: add and change one. Everything else is done to the trust's key, as to any other key."""

import re
import secrets
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction

from keys.actions import self_service
from keys.actions.actor import Actor, Via
from keys.actions.errors import ActionError, NotAllowed
from keys.actions.grants import lock_key
from keys.actions.history import record_event
from keys.actions.issuing import issue
from keys.models import KeyEvent, Organisation, Trust, User
from keys.organisations import maintainers, trust_rules
from keys.organisations.maintainers import Role
from keys.rights.scopes import Preset

FIELDS = ("issuer", "audience", "conditions", "key_set", "is_private", "ca")
STAFF_ONLY = ("is_private", "ca")  # they say where in the portal's own network it connects to
NARROWING = {"purpose", "environment", "networks", "patterns", "only_own", "expires_at"}


def is_administrator(actor: Actor) -> bool:
    return actor.via is Via.COMMAND or (actor.user is not None and maintainers.can_administer(actor.user))


@transaction.atomic
def create_trust(
    *,
    organisation: Organisation,
    name: str,
    issuer: str,
    audience: str,
    conditions: Mapping[str, Sequence[str]],
    scopes: Sequence[str] = Preset.CONTRIBUTOR.scopes,
    key_set: Any = None,
    is_private: bool = False,
    ca: str = "",
    owner: User | None = None,
    actor: Actor,
    **rights: Any,
) -> Trust:
    """Add a trust to an organisation: a key without a secret, which tokens of the issuer act as.

    `owner`: the key's; by default a service user of the organisation, named after the trust. An owner of the
    organisation gives at most the rights of self-service, and administrators any rights of a key.
    Raises NotAllowed, and ActionError for a trust that anybody's token would fulfil.
    """
    maintainers.require_role(actor, organisation, Role.OWNER)
    if not is_administrator(actor):
        check_owners_rights(scopes, rights, actor)
    validated = validate(
        organisation,
        actor,
        issuer=issuer,
        audience=audience,
        conditions=conditions,
        key_set=key_set,
        is_private=is_private,
        ca=ca,
    )
    owner = owner or service_user(organisation, name, actor)
    key, _ = issue(owner=owner, name=name, organisation=organisation, scopes=scopes, actor=actor, **rights)
    key.digest, key.prefix, key.last4 = secrets.token_hex(32), f"hk_{key.environment}_", ""
    key.save(update_fields=["digest", "prefix", "last4"])
    trust = Trust.objects.create(key=key, **validated)
    record_event(key, KeyEvent.Kind.TRUSTED, actor=actor, **describe(trust))
    return trust


@transaction.atomic
def change_trust(*, trust: Trust, actor: Actor, **changes: Any) -> Trust:
    """Change whose tokens act as the trust's key, and under which conditions (`FIELDS`). Raises ActionError."""
    organisation = trust.key.organisation
    maintainers.require_role(actor, organisation, Role.OWNER)
    key = lock_key(trust.key, actor)
    before = {name: getattr(trust, name) for name in FIELDS}
    if unknown := changes.keys() - set(FIELDS):
        raise ActionError(f"cannot change {', '.join(sorted(unknown))}")
    for name, value in validate(organisation, actor, **(before | changes), before=before).items():
        setattr(trust, name, value)
    trust.save(update_fields=list(FIELDS))
    record_event(key, KeyEvent.Kind.TRUSTED, actor=actor, **describe(trust))
    return trust


def validate(
    organisation: Organisation, actor: Actor, *, before: Mapping[str, Any] | None = None, **fields: Any
) -> dict[str, Any]:
    """The fields in their stored form. Raises ActionError, and NotAllowed for those that only administrators set."""
    changed = [
        name for name in STAFF_ONLY if fields[name] != ((before or {}).get(name) or type(fields[name])())
    ]
    if changed and not is_administrator(actor):
        raise NotAllowed(
            "only administrators let the portal fetch keys from a private address; upload the key set"
        )
    key_set = trust_rules.validate_key_set(fields["key_set"])
    issuer = trust_rules.validate_issuer(
        fields["issuer"], is_fetched=key_set is None, is_private=fields["is_private"]
    )
    return {
        "issuer": issuer,
        "audience": trust_rules.validate_audience(fields["audience"], slug=organisation.slug),
        "conditions": trust_rules.validate_conditions(fields["conditions"], issuer=issuer),
        "key_set": key_set,
        "is_private": fields["is_private"],
        "ca": validate_ca(fields["ca"]),
    }


def validate_ca(text: str) -> str:
    if text:
        try:
            ssl.create_default_context(cadata=text)
        except (ssl.SSLError, ValueError):
            raise ActionError("CA: give certificates in PEM form") from None
    return text


def check_owners_rights(scopes: Sequence[str], rights: Mapping[str, Any], actor: Actor) -> None:
    if not any(set(scopes) <= set(preset.scopes) for preset in self_service.presets()):
        raise NotAllowed(
            "a trust has at most the rights that SELF_SERVICE_PRESET allows; ask an administrator"
        )
    if {name for name, value in rights.items() if value} - NARROWING:
        raise NotAllowed("only administrators set other rights than those of a preset")


def service_user(organisation: Organisation, name: str, actor: Actor) -> User:
    """The machine that the trust's key belongs to: one of the organisation's, named after the trust."""
    if organisation.is_shared:
        raise ActionError("user: name the owner of a trust of the organisation “shared”")
    word = re.sub(r"[^\w.@+-]+", "-", name).strip("-")[:60] or "trust"
    found = User.objects.filter(username=f"{organisation.slug}.{word}", is_service=True).first()
    return found or maintainers.add_service_user(organisation=organisation, name=word, actor=actor)


def describe(trust: Trust) -> dict[str, Any]:
    """A trust in the detail of an event."""
    return {
        "issuer": trust.issuer,
        "audience": trust.audience,
        "conditions": trust.describe_conditions(),
        "key_set": bool(trust.key_set),
        "is_private": trust.is_private,
    }
