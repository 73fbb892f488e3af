"""Give a key a new secret, and end its old one."""

import datetime
from enum import Enum
from typing import Any

from django.db import transaction
from django.utils import timezone

from keys.actions import grants
from keys.actions.actor import COMMAND, Actor
from keys.actions.errors import ActionError
from keys.actions.grants import lock_key
from keys.actions.history import record_event
from keys.actions.issuing import secret_fields
from keys.actions.overlaps import OVERLAPS
from keys.actions.rights import serialize_rights, validate_rights
from keys.credentials import tokens
from keys.models import ApiKey, KeyEvent


class Unchanged(Enum):
    """The value of an argument that was not given, where None means something."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED


@transaction.atomic
def rotate(
    *,
    key: ApiKey,
    overlap: str = "24h",
    expires_at: datetime.datetime | Unchanged | None = UNCHANGED,
    actor: Actor = COMMAND,
) -> tuple[ApiKey, str | None]:
    """Give a key a new secret; the old one works until `overlap` (`OVERLAPS`) has passed.

    A key that was found in the open is rotated with the overlap “now” only. If the report paused it, it works again
    with the new secret; a key that was paused before the report stays paused. The expiry stays as it is, unless
    `expires_at` is another one (None: never).

    Returns the row and the new secret, which is stored nowhere; None if the actor may not see it
    (`is_only_for_holder`): then the pages ask the holder to create one. Raises ActionError for a key that is revoked or
    expired, for a second overlap while one is running, and for the overlap of a leaked secret.
    """
    if overlap not in OVERLAPS:
        raise ActionError(f"the overlap is one of {', '.join(OVERLAPS)}")
    key = lock_key(key, actor)
    is_shown = not is_only_for_holder(key, actor=actor)  # a report may have come a moment ago
    if not key.has_secret:
        raise ActionError("a trust has no secret to rotate; change its conditions, pause or revoke it")
    grants.check_rotation(key, actor)
    now = timezone.now()
    if key.state == ApiKey.State.EXPIRED:
        raise ActionError("the key has expired; issue a new one")
    extension = {} if expires_at is UNCHANGED else set_expiry(key, expires_at, actor)
    if overlap != "now" and key.leak:
        raise ActionError(
            f"the key was found {key.leak.describe_leak()}. Its secret never works again: the overlap must be “now”"
        )
    if overlap != "now" and key.has_old_secret and key.previous_ends_at:
        raise ActionError(
            f"the last rotation's old secret still works until {key.previous_ends_at:%Y-%m-%d %H:%M} UTC; "
            "rotate with the overlap “now” to end both, or wait"
        )
    is_resumed = key.leak is not None and key.is_paused_by_report
    if is_resumed:
        key.paused_at = None
    token = tokens.generate(key.environment)
    keep = overlap != "now"
    old_ends = {
        "old_prefix": key.prefix,
        "old_last4": key.last4,
    }  # by which people search for the secret later
    key.previous_digest = key.digest if keep else None
    key.previous_prefix, key.previous_last4 = (key.prefix, key.last4) if keep else ("", "")
    key.previous_ends_at = now + OVERLAPS[overlap].length if keep else None
    key.previous_used_at, key.previous_used_address = (
        (key.last_used_at, key.last_used_address) if keep else (None, None)
    )
    key.previous_used_client = key.last_used_client if keep else ""
    key.last_used_at, key.last_used_address, key.last_used_client = None, None, ""
    for name, value in secret_fields(token).items():
        setattr(key, name, value)
    key.save()
    unseen = {} if is_shown else {"is_shown": False}
    record_event(key, KeyEvent.Kind.ROTATED, actor=actor, overlap=overlap, **old_ends, **unseen, **extension)
    if is_resumed:
        record_event(key, KeyEvent.Kind.RESUMED, actor=actor, reason="The leaked secret was replaced.")
    return key, token.secret if is_shown else None


def is_only_for_holder(key: ApiKey, *, actor: Actor) -> bool:
    """Whether nobody but the key's holder may see the secret that the actor's rotation makes: the key was found in the
    open, and the actor is somebody else. Nobody collects a machine's secret, so the actor gets it. Once the holder has
    created the secret that works, rotations are as for any other key."""
    is_holder = actor.user is not None and actor.user.pk == key.owner_id
    return (key.leak is not None or key.is_secret_unseen) and not is_holder and not key.owner.is_machine


def set_expiry(key: ApiKey, expires_at: Any, actor: Actor) -> dict[str, Any]:
    """Give the key, which is not saved, another expiry; the detail for its event. A later one is worth as much as a new
    key, so no key gives it to a key with a portal scope, not even to itself."""
    after = validate_rights({"expires_at": expires_at})
    if after["expires_at"] == key.expires_at:
        return {}
    grants.check_scopes(key.scopes, owner_id=key.owner_id, environment=key.environment, actor=actor)
    before = {"expires_at": key.expires_at}
    key.expires_at = after["expires_at"]
    return {"before": serialize_rights(before), "after": serialize_rights(after)}


@transaction.atomic
def end_old_secret(*, key: ApiKey, actor: Actor = COMMAND) -> ApiKey:
    """End the old secret of a rotation before its overlap has passed; the current secret goes on.

    Raises ActionError if no old secret works. The digest stays, so that a call with the old secret is told that it
    was replaced.
    """
    key = lock_key(key, actor)
    if not key.has_old_secret:
        raise ActionError("the key has no old secret that still works")
    key.previous_ends_at = timezone.now()
    key.save(update_fields=["previous_ends_at"])
    record_event(key, KeyEvent.Kind.OLD_SECRET_ENDED, actor=actor, masked=key.previous_masked)
    return key
