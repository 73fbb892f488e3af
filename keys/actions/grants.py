"""Who may hand out what is worth more than a key to MLflow: the portal scopes, which act with a user's own
rights in the portal. Pure."""

from collections.abc import Iterable

from keys.models import ApiKey, User
from keys.rights.scopes import PORTAL


def problem(
    scopes: Iterable[str],
    *,
    owner_id: int,
    environment: str,
    user: User | None,
    by_key: ApiKey | None = None,
) -> str:
    """Why `user` (None: a command), with the key `by_key` if it acts by one, may not make or change a key of the
    owner's with these scopes; "" if it may.

    A key with a portal scope is as good as its owner's session. So nobody gets one for somebody else but by a
    superuser, who may do everything anyway, or by the command line; and no key makes another one, or who found
    a key that ends tomorrow would have one for ever.
    """
    portal = sorted(set(scopes) & PORTAL)
    if not portal:
        return ""
    if environment == ApiKey.Environment.TEST:
        return (
            f"a test key does not get {', '.join(portal)}: they are about this portal, not the test registry"
        )
    if by_key:
        return (
            f"keys with {', '.join(portal)} are issued and changed by a person who is signed in, not by a key"
        )
    if user is None or user.is_superuser or user.pk == owner_id:
        return ""
    return f"only a superuser gives another user's key {', '.join(portal)}: it acts with that user's rights"


def resumption_problem(key: ApiKey, *, user: User | None, by_key: ApiKey | None = None) -> str:
    """The same, but for keys alone, since it may have been paused because it was found: a person who may resume
    keys has paused some by mistake. To stop a key, any that may pause or revoke keys will do."""
    if by_key is None:
        return ""
    return problem(key.scopes, owner_id=key.owner_id, environment=key.environment, user=user, by_key=by_key)


def rotation_problem(key: ApiKey, *, user: User | None, by_key: ApiKey | None = None) -> str:
    """The same for a new secret, which is as good as a new key; but a key may renew itself."""
    if by_key and by_key.pk == key.pk:
        return ""
    return problem(key.scopes, owner_id=key.owner_id, environment=key.environment, user=user, by_key=by_key)
