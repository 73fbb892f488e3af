"""Actions on accounts: deactivate, reactivate, set the role, remove second factors."""

from collections.abc import Iterable

from allauth.mfa.models import Authenticator
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import Group, Permission
from django.contrib.sessions.models import Session
from django.db import transaction
from django.utils import timezone

from keys.actions import grants, invitations
from keys.actions.actor import COMMAND, Actor
from keys.actions.errors import ActionError, NotAllowed
from keys.actions.history import log
from keys.actions.stopping import pause
from keys.models import ApiKey, User
from keys.rights.permissions import DESCRIPTIONS
from keys.rights.roles import Role


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
    check_superuser_remains(user)
    if user.is_active:
        user.is_active = False
        user.save(update_fields=["is_active"])
    end_sessions(user)
    words = f"The account was deactivated{f': {reason}' if reason else ''}"
    return [
        pause(key=key, reason=words, actor=actor)
        for key in user.api_keys.active_but_for_owner().order_by("pk")
    ]


def check_superuser_remains(user: User) -> None:
    """Raise ActionError if this is the last active superuser: nobody could undo the change in the pages."""
    others = User.objects.filter(is_superuser=True, is_active=True).exclude(pk=user.pk)
    if user.is_superuser and user.is_active and not others.exists():
        raise ActionError("this is the last superuser; make another one first")


@transaction.atomic
def set_role(*, user: User, role: Role, permissions: Iterable[str] = (), actor: Actor = COMMAND) -> User:
    """Give the user exactly this role, and these single permissions (codenames) beside it. Also mends an account whose
    columns and groups contradict each other. An open sign-in link ends: it was created for other rights.

    Raises NotAllowed unless the actor is a superuser who is signed in, or a command: with a key, its finder could
    become a superuser. Raises ActionError for permissions that the role does not take, and for the last superuser.
    """
    if actor.key:
        raise NotAllowed("only a signed-in person may give roles; a key may not")
    if actor.user is not None and not actor.user.is_superuser:
        raise NotAllowed("only a superuser may give roles")
    wanted = find_permissions(role, set(permissions))
    user = User.objects.select_for_update().get(pk=user.pk)
    if role is not Role.SUPERUSER:
        check_superuser_remains(user)
    return change_role(user, role, wanted, actor=actor)


def change_role(
    user: User, role: Role, permissions: Iterable[Permission] = (), *, by_rule: bool = False, actor: Actor
) -> User:
    """Give a locked user the role, whoever the actor is. `by_rule`: a group rule grants it, and takes it back."""
    before = describe_role(user)
    mended = "".join(f" Mended: {fault}" for fault in user.role_faults())
    user.is_staff, user.is_superuser = role.is_staff, role is Role.SUPERUSER
    was_by_rule = bool(user.rule_role)
    user.rule_role = role.value if by_rule else ""
    user.save(update_fields=["is_staff", "is_superuser", "rule_role"])
    user.groups.set(Group.objects.filter(name=role.group) if role.group else ())
    user.user_permissions.set(permissions)
    if mended or describe_role(user) != before or was_by_rule != by_rule:
        invitations.withdraw(user=user, actor=actor)
        source = " By group rules." if by_rule or was_by_rule else ""
        log(user, f"Role: {before} → {describe_role(user)}.{source}{mended}", actor=actor)
    return user


def find_permissions(role: Role, codenames: set[str]) -> list[Permission]:
    """The permissions of these codenames. Raises ActionError for unknown ones, and for those that the role does not
    take."""
    if unknown := codenames - set(DESCRIPTIONS):
        raise ActionError(
            f"unknown permissions {', '.join(sorted(unknown))}; there are {', '.join(DESCRIPTIONS)}"
        )
    if codenames and not role.takes_permissions:
        raise ActionError(f"single permissions have no effect for the role {role}; leave them out")
    if role is Role.CUSTOM and not codenames:
        raise ActionError("the role custom needs at least one single permission")
    of_portal = Permission.objects.filter(content_type__app_label__in=("keys", "proxy"))
    return list(of_portal.filter(codename__in=codenames))


def describe_role(user: User) -> str:
    """The role and the single permissions beside it: "auditor with add_apikey"."""
    names = sorted(user.user_permissions.values_list("codename", flat=True))
    return f"{user.role.label} with {', '.join(names)}" if names else user.role.label


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
