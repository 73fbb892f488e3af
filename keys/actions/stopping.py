"""Stop a key: pause and resume it, or revoke it."""

from django.db import transaction
from django.utils import timezone

from keys.actions import grants
from keys.actions.actor import COMMAND, Actor
from keys.actions.errors import ActionError
from keys.actions.grants import lock_key
from keys.actions.history import record_event
from keys.models import ApiKey, KeyEvent


@transaction.atomic
def pause(
    *,
    key: ApiKey,
    reason: str = "",
    actor: Actor = COMMAND,
) -> ApiKey:
    """Stop a key until it is resumed. Pausing a paused key changes nothing."""
    key = lock_key(key, actor)
    if key.paused_at is None:
        key.paused_at = timezone.now()
        key.save(update_fields=["paused_at"])
        record_event(key, KeyEvent.Kind.PAUSED, actor=actor, reason=reason)
    return key


@transaction.atomic
def resume(*, key: ApiKey, actor: Actor = COMMAND) -> ApiKey:
    """Let a paused key work again. Raises ActionError for a key that was found in the open: its secret never works
    again."""
    key = lock_key(key, actor)
    grants.check_resumption(key, actor)
    if key.paused_at is not None:
        if key.leak:
            raise ActionError(
                f"the key was found {key.leak.describe_leak()}. Its secret never works again: rotate the key with the "
                "overlap “now”, or revoke it"
            )
        key.paused_at = None
        key.save(update_fields=["paused_at"])
        record_event(key, KeyEvent.Kind.RESUMED, actor=actor)
    return key


@transaction.atomic
def revoke(
    *,
    key: ApiKey,
    reason: str = "",
    actor: Actor = COMMAND,
) -> ApiKey:
    """End a key for good. Revoking a revoked key changes nothing and writes no second event."""
    grants.check_owner(key.owner_id, actor)
    key = ApiKey.objects.select_for_update().get(pk=key.pk)
    if key.revoked_at is None:
        key.revoked_at, key.revoked_reason = timezone.now(), reason
        key.save(update_fields=["revoked_at", "revoked_reason"])
        record_event(key, KeyEvent.Kind.REVOKED, actor=actor, reason=reason)
    return key
