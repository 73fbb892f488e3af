"""The row of a key, locked while an action changes it."""

from keys.actions import grants
from keys.actions.actor import Actor
from keys.actions.errors import ActionError
from keys.models import ApiKey


def lock_key(key: ApiKey, actor: Actor) -> ApiKey:
    """The row as it is now, locked until the transaction ends. Raises NotAllowed if the actor may not act on the
    owner's keys, and ActionError if the key is revoked, because a revocation is final."""
    grants.check_owner(key.owner_id, actor)
    key = ApiKey.objects.select_for_update().get(pk=key.pk)
    if key.revoked_at:
        raise ActionError(f"the key was revoked on {key.revoked_at:%Y-%m-%d %H:%M} UTC; issue a new one")
    return key
