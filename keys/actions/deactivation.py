"""Deactivate a user, reactivate one, and remove second factors."""

from allauth.mfa.models import Authenticator
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.db import transaction
from django.utils import timezone

from keys.actions import grants
from keys.actions.actor import COMMAND, Actor
from keys.actions.errors import ActionError, NotAllowed
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
    grants.check_owner(user.pk, actor)
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
def reactivate(*, user: User, actor: Actor = COMMAND) -> list[ApiKey]:
    """Allow a user to sign in again. Returns the keys that stay paused, because each is resumed separately."""
    grants.check_owner(user.pk, actor)
    user = User.objects.select_for_update().get(pk=user.pk)
    if not user.is_active:
        user.is_active = True
        user.save(update_fields=["is_active"])
    return list(user.api_keys.filter(revoked_at=None, paused_at__isnull=False).order_by("pk"))


def remove_second_factors(*, user: User, actor: Actor = COMMAND) -> int:
    """Delete the user's authenticator app, passkeys and recovery codes, so that the password alone signs in. Returns
    their number.

    Raises NotAllowed unless the actor is a superuser: with this and a sign-in link, they could take the account.
    """
    if actor.user is not None and not actor.user.is_superuser:
        raise NotAllowed("only a superuser may remove second factors")
    removed, _ = Authenticator.objects.filter(user=user).delete()
    return int(removed)
