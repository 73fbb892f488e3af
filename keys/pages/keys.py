"""Which keys a user may see, and which actions on a key their pages offer."""

from typing import cast

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.shortcuts import get_object_or_404

from keys.actions.grants import is_owner_allowed
from keys.models import ApiKey, User
from keys.rights import permissions


def can_see_keys(request: HttpRequest) -> bool:
    """Whether the user may see all keys in the admin."""
    return any(request.user.has_perm(name) for name in permissions.SEE_KEYS)


def key_or_404(pk: int) -> ApiKey:
    return get_object_or_404(ApiKey.objects.with_owner(), pk=pk)


def key_to_act_on(request: HttpRequest, pk: int) -> ApiKey:
    """The key, if the user may act on its owner's keys: `keys.actions` would refuse the others."""
    key = key_or_404(pk)
    if not may_act_on(request, key):
        raise PermissionDenied
    return key


def may_act_on(request: HttpRequest, key: ApiKey) -> bool:
    return is_owner_allowed(key.owner_id, cast(User, request.user))


def possible_actions(key: ApiKey) -> set[str]:
    """The actions that the key's state allows. A key that was found in the open is not resumed."""
    if key.revoked_at:
        return set()
    possible = {"rights", "revoke"}
    if key.has_old_secret:
        possible.add("end_old_secret")
    if key.paused_at and key.leak is None:
        possible.add("resume")
    if key.state != ApiKey.State.EXPIRED:
        if key.has_secret:
            possible.add("rotate")
        if key.paused_at is None:
            possible.add("pause")
    return possible


def offered_actions(request: HttpRequest, key: ApiKey) -> list[str]:
    """The actions that the key's state and the user's permissions allow, in the order of the buttons."""
    possible = possible_actions(key) if may_act_on(request, key) else set()
    return [
        name
        for name, needed in permissions.KEY_ACTIONS.items()
        if name in possible and request.user.has_perms(needed)
    ]
