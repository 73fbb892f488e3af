"""Deactivate a user, and reactivate one."""

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.db import transaction
from django.utils import timezone

from keys.actions.actor import COMMAND, Actor
from keys.actions.errors import ActionError
from keys.actions.stopping import pause
from keys.models import ApiKey, User


@transaction.atomic
def deactivate(
    *,
    user: User,
    reason: str = "",
    actor: Actor = COMMAND,
) -> list[ApiKey]:
    """Prevent a user from signing in, end the user's sessions, and pause every working key. Returns these keys.

    Raises ActionError for the actor's own account, and for the last superuser, because nobody could undo that in
    the pages.
    """
    user = User.objects.select_for_update().get(pk=user.pk)
    if actor.user and actor.user.pk == user.pk:
        raise ActionError("you cannot deactivate yourself; ask another administrator")
    others = User.objects.filter(is_superuser=True, is_active=True).exclude(pk=user.pk)
    if user.is_superuser and user.is_active and not others.exists():
        raise ActionError("this is the last superuser; make another one first")
    if user.is_active:
        user.is_active = False
        user.save(update_fields=["is_active"])
    end_sessions(user)
    words = f"The account was deactivated{f': {reason}' if reason else ''}"
    return [
        pause(key=key, reason=words, actor=actor)
        for key in user.api_keys.active_but_for_owner().order_by("pk")
    ]


def end_sessions(user: User) -> None:
    """Delete the user's sessions, so that a reactivation does not restore them. A session does not name its user in a
    column, so this reads each one that has not expired."""
    for session in Session.objects.filter(expire_date__gt=timezone.now()).iterator():
        if session.get_decoded().get(SESSION_KEY) == str(user.pk):
            session.delete()


@transaction.atomic
def reactivate(*, user: User) -> list[ApiKey]:
    """Allow a user to sign in again. Returns the keys that stay paused, because each is resumed separately."""
    user = User.objects.select_for_update().get(pk=user.pk)
    if not user.is_active:
        user.is_active = True
        user.save(update_fields=["is_active"])
    return list(user.api_keys.filter(revoked_at=None, paused_at__isnull=False).order_by("pk"))
