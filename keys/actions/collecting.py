"""Keys that administrators prepare and holders collect. The key and its secret are made when the holder collects it."""

import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from keys.actions import grants
from keys.actions.actor import COMMAND, Actor, Via
from keys.actions.errors import ActionError, NotAllowed
from keys.actions.history import log, record_event
from keys.actions.invitations import LIFETIME, digest, new_link_secret
from keys.actions.issuing import issue, validate_key
from keys.actions.organisations import organisation_for
from keys.actions.rights import serialize_rights
from keys.models import ApiKey, KeyEvent, Membership, Organisation, PreparedKey, User
from keys.rights.permissions import ADD_KEY
from keys.rights.scopes import DEFAULT_PRESET

PREFIX = "hkc_"
END_REASONS = {
    "unknown": "This link is not valid. Copy the whole link again, or ask for a new one.",
    "collected": "This key has already been collected. Its secret was shown once. If nobody kept it, rotate the key.",
    "withdrawn": "This key was withdrawn before it was collected. Ask your administrator for another.",
    "expired": "This key was not collected in time: it waits for seven days. Ask your administrator for another.",
    "deactivated": "This user is deactivated. Ask your administrator.",
    "rights": "The administrator who prepared this key may no longer issue it. Ask another administrator.",
}


@transaction.atomic
def prepare(
    *,
    owner: User,
    name: str,
    purpose: str = "",
    environment: str = "live",
    organisation: Organisation | None = None,
    actor: Actor = COMMAND,
    **rights: Any,
) -> tuple[PreparedKey, str]:
    """Prepare a key with these rights, which `owner` collects within a week. Returns the row and the secret of the
    link, which is not stored. A key of the same name that still waits for the owner is withdrawn. The arguments and
    errors are those of `issue`, except that a canary is not collected.
    """
    owner = User.objects.select_for_update().get(pk=owner.pk)
    if rights.pop("is_canary", False):
        raise ActionError("nobody collects a canary: issue it directly")
    if not owner.is_active:
        raise ActionError("the user is deactivated; reactivate them first")
    rights.setdefault("scopes", DEFAULT_PRESET.scopes)
    rights = validate_key(
        owner=owner, name=name, purpose=purpose, environment=environment, rights=rights, actor=actor
    )
    now = timezone.now()
    owner.prepared_keys.filter(name=name, collected_at=None, withdrawn_at=None).update(withdrawn_at=now)
    secret = new_link_secret(PREFIX)
    prepared = PreparedKey.objects.create(
        owner=owner,
        name=name,
        purpose=purpose,
        environment=environment,
        organisation=organisation_for(owner, organisation),
        rights=serialize_rights(rights),
        digest=digest(secret),
        created_by=actor.user,
        expires_at=now + LIFETIME,
    )
    log(owner, f"Key “{name}” prepared to be collected.", actor=actor)
    return prepared, secret


def renew(*, prepared: PreparedKey, actor: Actor = COMMAND) -> tuple[PreparedKey, str]:
    """Prepare the same key again, with a new link and week; the former link stops working. The actor is now who
    prepared it. Arguments and errors as for `prepare`."""
    return prepare(
        owner=prepared.owner,
        name=prepared.name,
        purpose=prepared.purpose,
        environment=prepared.environment,
        actor=actor,
        **stored_rights(prepared),
    )


@transaction.atomic
def collect(*, prepared: PreparedKey, actor: Actor) -> tuple[ApiKey, str]:
    """Issue the key to its owner, who is the actor, signed in. Returns the row and the secret, as `issue` does.

    The key is issued by the administrator who prepared it, with the rights of that time; it is refused if they could no
    longer issue it. Raises NotAllowed for anybody but the owner, and ActionError if it is collected or has ended.
    """
    if actor.user is None or actor.key is not None or actor.user.pk != prepared.owner_id:
        raise NotAllowed("only its holder, signed in, collects a key")
    prepared = PreparedKey.objects.select_for_update(of=("self",)).with_people().get(pk=prepared.pk)
    if reason := end_reason(prepared):
        raise ActionError(END_REASONS[reason])
    issuer = Actor(
        user=prepared.created_by, address=None, via=Via.PAGE if prepared.created_by else Via.COMMAND
    )
    key, secret = issue(
        owner=prepared.owner,
        name=prepared.name,
        purpose=prepared.purpose,
        environment=prepared.environment,
        organisation=prepared.organisation,
        **stored_rights(prepared),
        actor=issuer,
    )
    record_event(key, KeyEvent.Kind.COLLECTED, actor=actor)
    prepared.key, prepared.collected_at, prepared.collected_address = key, timezone.now(), actor.address
    prepared.save(update_fields=["key", "collected_at", "collected_address"])
    return key, secret


@transaction.atomic
def withdraw(*, prepared: PreparedKey, actor: Actor = COMMAND) -> PreparedKey:
    """End a prepared key before it is collected. Raises ActionError if it has ended already."""
    grants.check_owner(prepared.owner_id, actor)
    prepared = PreparedKey.objects.select_for_update(of=("self",)).with_people().get(pk=prepared.pk)
    if prepared.collected_at:
        raise ActionError("the key was already collected; revoke it instead")
    if prepared.withdrawn_at is None:
        prepared.withdrawn_at = timezone.now()
        prepared.save(update_fields=["withdrawn_at"])
        log(prepared.owner, f"Prepared key “{prepared.name}” withdrawn.", actor=actor)
    return prepared


def end_reason(prepared: PreparedKey | None) -> str:
    """Why the key can no longer be collected, as a key of END_REASONS; "" if it can."""
    if prepared is None:
        return "unknown"
    if prepared.collected_at:
        return "collected"
    if prepared.withdrawn_at:
        return "withdrawn"
    if prepared.expires_at <= timezone.now() or has_expired(prepared):
        return "expired"
    if not prepared.owner.is_active:
        return "deactivated"
    issuer = prepared.created_by  # None: the command line
    is_staff = issuer is None or (issuer.is_active and issuer.is_staff and issuer.has_perm(ADD_KEY))
    can_issue = is_staff or (issuer is not None and is_maintainer(issuer, prepared.organisation))
    return "" if can_issue else "rights"


def is_maintainer(user: User, organisation: Organisation) -> bool:
    """Whether the user may prepare keys of the organisation for its members."""
    membership = organisation.memberships.filter(user=user, user__is_active=True).first()
    return membership is not None and membership.has_role(Membership.Role.MAINTAINER)


def has_expired(prepared: PreparedKey) -> bool:
    """Whether the key itself would have expired by now."""
    expires_at = stored_rights(prepared).get("expires_at")
    return expires_at is not None and expires_at <= timezone.now()


def stored_rights(prepared: PreparedKey) -> dict[str, Any]:
    """The rights as `issue` takes them."""
    expires_at: datetime.datetime | None = None
    if text := prepared.rights.get("expires_at"):
        expires_at = parse_datetime(text)
    return {**prepared.rights, "expires_at": expires_at}


def find_prepared(secret: str) -> PreparedKey | None:
    return PreparedKey.objects.with_people().filter(digest=digest(secret)).first()
