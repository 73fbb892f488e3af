"""Who may act on the keys, objects and accounts of superusers, and on keys with portal scopes; and the row that an
action changes.

A key with a portal scope acts in the portal with its owner's rights, so it is worth as much as the owner's session."""

from collections.abc import Iterable

from keys.actions.actor import Actor
from keys.actions.errors import ActionError, NotAllowed
from keys.models import ApiKey, User
from keys.rights.permissions import ADD_USER, CHANGE_USER
from keys.rights.scopes import PORTAL


def check_owner(owner_id: int, actor: Actor) -> None:
    """Raise NotAllowed unless the actor may act on this user's keys, objects and account: on those of a superuser, only
    superusers, commands, and the portal itself, which pauses leaked keys."""
    check_user(owner_id, actor.user)


def check_user(owner_id: int, user: User | None) -> None:
    """The same for an action that knows only its user."""
    if not is_owner_allowed(owner_id, user):
        raise NotAllowed("only a superuser may do this to a superuser, their keys and their objects")


def is_owner_allowed(owner_id: int, user: User | None) -> bool:
    """Whether `user` (None: a command, or the portal) may act on this owner's keys, objects and account."""
    if user is None or user.is_superuser or user.pk == owner_id:
        return True
    return not User.objects.filter(pk=owner_id, is_superuser=True).exists()


def can_invite(user: User | None, holder: User) -> bool:
    """Whether `user` (None: a command) may make a sign-in link for the holder: staff who add or change users, and for a
    holder with rights of their own only superusers."""
    if user is None or user.is_superuser:
        return True
    is_for_users = user.is_staff and (user.has_perm(CHANGE_USER) or user.has_perm(ADD_USER))
    return is_for_users and not holder.has_rights()


def lock_key(key: ApiKey, actor: Actor) -> ApiKey:
    """The row as it is now, locked until the transaction ends. Raises NotAllowed if the actor may not act on the
    owner's keys, and ActionError if the key is revoked, because a revocation is final."""
    check_owner(key.owner_id, actor)
    key = ApiKey.objects.select_for_update().get(pk=key.pk)
    if key.revoked_at:
        raise ActionError(f"the key was revoked on {key.revoked_at:%Y-%m-%d %H:%M} UTC; issue a new one")
    return key


def check_scopes(scopes: Iterable[str], *, owner_id: int, environment: str, actor: Actor) -> None:
    """Raise NotAllowed if the actor may not give the owner's key these scopes.

    Only superusers, who may do everything anyway, and commands give a portal scope to another user's key. No key
    issues or changes a key with a portal scope; otherwise the finder of a key that expires tomorrow could use it to
    issue one that never expires.
    """
    portal = sorted(set(scopes) & PORTAL)
    if not portal:
        return
    names = ", ".join(portal)
    if environment == ApiKey.Environment.TEST:
        raise NotAllowed(
            f"a test key cannot have {names}: these scopes are for this portal, not the test registry"
        )
    if actor.key:
        raise NotAllowed(f"only a signed-in person may issue or change keys with {names}; a key may not")
    user = actor.user
    if user is not None and not user.is_superuser and user.pk != owner_id:
        raise NotAllowed(
            f"only a superuser may give {names} to another user's key: the key acts with that user's rights"
        )


def check_resumption(key: ApiKey, actor: Actor) -> None:
    """The same for resuming by a key, because the paused key may have been found by a stranger. People may resume
    what they paused by mistake, and any key that may pause or revoke keys may stop one."""
    if actor.key:
        check_scopes(key.scopes, owner_id=key.owner_id, environment=key.environment, actor=actor)


def check_rotation(key: ApiKey, actor: Actor) -> None:
    """The same for a new secret, which is worth as much as a new key. A key may rotate itself."""
    if actor.key is None or actor.key.pk != key.pk:
        check_scopes(key.scopes, owner_id=key.owner_id, environment=key.environment, actor=actor)
