"""Which keys a user may see, and which actions on a key their pages offer."""

from django.http import HttpRequest
from django.shortcuts import get_object_or_404

from keys.models import ApiKey
from keys.rights import permissions


def can_see_keys(request: HttpRequest) -> bool:
    """Whether the user may see all keys in the admin."""
    return any(request.user.has_perm(name) for name in permissions.SEE_KEYS)


def key_or_404(pk: int) -> ApiKey:
    return get_object_or_404(ApiKey.objects.with_owner(), pk=pk)


def possible_actions(key: ApiKey) -> set[str]:
    """The actions that the key's state allows. A key that was found in the open is not resumed."""
    if key.revoked_at:
        return set()
    possible = {"rights", "revoke"}
    if key.paused_at and key.leak is None:
        possible.add("resume")
    if key.state != ApiKey.State.EXPIRED:
        possible.add("rotate")
        if key.paused_at is None:
            possible.add("pause")
    return possible


def offered_actions(request: HttpRequest, key: ApiKey) -> list[str]:
    """The actions that the key's state and the user's permissions allow, in the order of the buttons."""
    possible = possible_actions(key)
    return [
        name
        for name, needed in permissions.KEY_ACTIONS.items()
        if name in possible and request.user.has_perms(needed)
    ]
