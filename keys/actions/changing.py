"""Change the rights, name or purpose of a key."""

from typing import Any

from django.db import transaction

from keys.actions import grants
from keys.actions.actor import COMMAND, Actor
from keys.actions.errors import ActionError
from keys.actions.grants import lock_key
from keys.actions.history import record_event
from keys.actions.rights import RIGHTS, serialize_rights, validate_rights
from keys.models import ApiKey, KeyEvent


@transaction.atomic
def change(
    *,
    key: ApiKey,
    actor: Actor = COMMAND,
    **changes: Any,
) -> ApiKey:
    """Change these `RIGHTS` of a key. The event lists only values that differ; without any there is no event."""
    if unknown := set(changes) - set(RIGHTS):
        raise ActionError(f"{', '.join(sorted(unknown))} cannot be changed")
    key = lock_key(key, actor)
    changes = {name: value for name, value in validate_rights(changes).items() if getattr(key, name) != value}
    if changes:
        scopes = {*key.scopes, *changes.get("scopes", ())}
        grants.check_scopes(scopes, owner_id=key.owner_id, environment=key.environment, actor=actor)
        before = {name: getattr(key, name) for name in changes}
        for name, value in changes.items():
            setattr(key, name, value)
        key.save(update_fields=list(changes))
        record_event(
            key,
            KeyEvent.Kind.CHANGED,
            actor=actor,
            before=serialize_rights(before),
            after=serialize_rights(changes),
        )
    return key
