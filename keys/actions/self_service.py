"""Users issue keys to themselves, if the operator allows it, within the limits that the settings state."""

import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from keys.actions.actor import Actor
from keys.actions.errors import ActionError
from keys.actions.issuing import issue as issue_key
from keys.actions.rotation import UNCHANGED, Unchanged
from keys.actions.rotation import rotate as rotate_key
from keys.models import ApiKey, Organisation, User
from keys.rights.scopes import Preset, allows


def is_offered() -> bool:
    offered: bool = settings.SELF_SERVICE
    return offered


def presets() -> list[Preset]:
    """The presets that users may choose: SELF_SERVICE_PRESET and those that it contains."""
    widest = Preset(settings.SELF_SERVICE_PRESET)
    return [preset for preset in Preset if allows(widest.scopes, preset.scopes)]


def keys_left(user: User) -> int:
    """How many more keys the user may issue. Keys that administrators issued to the user count; revoked and expired
    keys do not."""
    ended = timezone.now()
    working = user.api_keys.filter(revoked_at=None).exclude(expires_at__lte=ended).count()
    return max(0, settings.SELF_SERVICE_KEYS - working)


def rotate(
    *,
    key: ApiKey,
    overlap: str = "24h",
    expires_at: datetime.datetime | Unchanged | None = UNCHANGED,
    actor: Actor,
) -> tuple[ApiKey, str | None]:
    """Rotate the actor's own key, as `keys.actions.rotate` does. Raises ActionError for an expiry beyond the limits of
    self-service, and for that of a key with more rights than a user may issue."""
    if expires_at is not UNCHANGED:
        if not can_extend(key):
            raise ActionError("only administrators change the expiry of this key; request a later one")
        longest = timezone.now() + datetime.timedelta(days=settings.SELF_SERVICE_DAYS)
        if expires_at is None or expires_at > longest:
            raise ActionError(f"a key of your own works for at most {settings.SELF_SERVICE_DAYS} days")
    return rotate_key(key=key, overlap=overlap, expires_at=expires_at, actor=actor)


def can_extend(key: ApiKey) -> bool:
    """Whether the key's owner could issue the same key, and so may give it a later expiry."""
    widest = Preset(settings.SELF_SERVICE_PRESET)
    return is_offered() and not key.any_owner and set(key.scopes) <= set(widest.scopes)


@transaction.atomic
def issue(
    *,
    name: str,
    preset: Preset,
    expires_in: datetime.timedelta,
    actor: Actor,
    purpose: str = "",
    environment: str = "live",
    organisation: Organisation | None = None,
    only_own: bool = False,
    **rights: Any,
) -> tuple[ApiKey, str]:
    """Issue a key to the actor's own user. Returns the row and the secret, as `keys.actions.issue` does.

    Raises ActionError if self-service is off or a limit is exceeded. The user's row is locked meanwhile, so that two
    concurrent requests cannot exceed the number of keys.
    """
    if rights:
        raise ActionError(f"you cannot set {', '.join(sorted(rights))} yourself; ask your administrator")
    if actor.user is None or not is_offered():
        raise ActionError("only administrators issue keys here; ask yours")
    owner = User.objects.select_for_update().get(pk=actor.user.pk)
    if preset not in presets():
        widest = settings.SELF_SERVICE_PRESET
        raise ActionError(
            f"a key of your own has at most the rights of {widest}; ask your administrator for more"
        )
    longest = datetime.timedelta(days=settings.SELF_SERVICE_DAYS)
    if not datetime.timedelta(0) < expires_in <= longest:
        raise ActionError(f"a key of your own works for at most {longest.days} days")
    if not keys_left(owner):
        raise ActionError(
            f"you may have at most {settings.SELF_SERVICE_KEYS} keys; revoke one that you no longer use, or ask your "
            "administrator for another"
        )
    return issue_key(
        owner=owner,
        name=name,
        purpose=purpose,
        environment=environment,
        organisation=organisation,
        only_own=only_own,
        scopes=preset.scopes,
        expires_at=timezone.now() + expires_in,
        actor=actor,
    )
