"""What a directory does to accounts: add or adopt one, change, deactivate and delete it."""

from dataclasses import dataclass

from allauth.socialaccount.models import SocialAccount
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db.models import Q

from keys.actions import accounts, grants, invitations
from keys.actions.actor import Actor
from keys.actions.errors import ActionError, NotAllowed
from keys.actions.history import log
from keys.actions.stopping import revoke
from keys.models import DirectoryUser, Organisation, User


class Taken(ActionError):
    """Another user has the name or the address. SCIM's `uniqueness`."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What of SCIM's user resource the portal's account has."""

    name: str
    email: str = ""
    first_name: str = ""
    last_name: str = ""
    is_active: bool = True


def add_account(directory: Organisation, profile: Profile, actor: Actor) -> User:
    """The account of a new user of the directory: a new one, or an existing one that the directory may adopt.
    Raises Taken for one that it may not adopt, and ActionError for an invalid name or address."""
    found = find_users(profile)
    if len(found) > 1:
        raise Taken(f"the name and the address belong to two users: {found[0].username}, {found[1].username}")
    if found:
        user = found[0]
        check_adoption(user, directory)
        log(user, f"Adopted by the directory of {directory}.", actor=actor)
        change_account(user, profile, before=Profile(name=user.username, email=user.email), actor=actor)
    else:
        user = invitations.add_user(name=profile.name, email=profile.email)
        set_names(user, profile)
        log(user, f"Added by the directory of {directory}.", actor=actor)
    if not profile.is_active:
        set_active(user, False, actor)
    return user


def find_users(profile: Profile) -> list[User]:
    """The users with this name or address."""
    condition = Q(username__iexact=profile.name)
    if profile.email:
        condition |= Q(email__iexact=profile.email)
    return list(User.objects.filter(condition).order_by("pk")[:2])


def check_adoption(user: User, directory: Organisation) -> None:
    """Raise Taken unless the directory may take over this account.

    A directory can change the address of its users, and so their passwords. So it adopts nobody with rights in the
    portal, and that of an organisation only users whose whole work is in this organisation.
    """
    if DirectoryUser.objects.filter(user=user).exists():
        raise Taken(f"{user.username} belongs to a directory already")
    if user.is_service or user.has_rights():
        raise Taken(f"{user.username} is an account that no directory may take over: staff, or a machine")
    if not user.is_active:
        raise Taken(
            f"{user.username} is deactivated; an administrator of the portal reactivates the user first"
        )
    if directory.is_shared:
        return
    elsewhere = user.api_keys.exclude(organisation=directory).exists()
    if elsewhere or set(user.memberships.values_list("organisation_id", flat=True)) != {directory.pk}:
        raise Taken("another user has this name or address")


def change_account(user: User, profile: Profile, *, before: Profile, actor: Actor) -> None:
    """Apply what differs from `before`. Raises NotAllowed for the name and address of staff whom a person made staff,
    Taken for a name or address of another user."""
    user_changes = {
        field: new
        for field, old, new in (
            ("username", before.name, profile.name),
            ("email", before.email, profile.email),
        )
        if old != new and getattr(user, field) != new
    }
    if user_changes:
        if user.has_rights() and not user.rule_role:
            raise NotAllowed(
                f"{user.username} is staff of the portal, whose name and address only a superuser changes"
            )
        others = find_users(Profile(name=profile.name, email=user_changes.get("email", "")))
        if any(other.pk != user.pk for other in others):
            raise Taken("another user has this name or address")
        rename(user, user_changes)
        log(user, f"The directory changed {', '.join(sorted(user_changes))}.", actor=actor)
    set_names(user, profile)


def rename(user: User, changes: dict[str, str]) -> None:
    for field, value in changes.items():
        setattr(user, field, value)
    try:
        if user.email:
            validate_email(user.email)
        user.full_clean(exclude=["password"])
    except ValidationError as error:
        raise ActionError(" ".join(error.messages)) from None
    user.save(update_fields=list(changes))


def set_names(user: User, profile: Profile) -> None:
    user.first_name, user.last_name = profile.first_name[:150], profile.last_name[:150]
    user.save(update_fields=["first_name", "last_name"])


def set_active(user: User, is_active: bool, actor: Actor) -> None:
    """Deactivate, which ends the sessions and pauses the keys, or reactivate. Raises NotAllowed for a superuser."""
    if is_active:
        accounts.reactivate(user=user, actor=actor)
        log(user, "Reactivated by the directory.", actor=actor)
        return
    keys = accounts.deactivate(user=user, reason="by the directory", actor=actor)
    log(user, f"Deactivated by the directory; {len(keys)} keys are paused.", actor=actor)


def delete_account(user: User, actor: Actor) -> None:
    """End the account: its sessions, keys and identities. The row stays for the history, deactivated and renamed, so
    that the directory can use the name again. Raises NotAllowed for a superuser."""
    grants.check_owner(user.pk, actor)
    set_active(user, False, actor)
    for key in user.api_keys.filter(revoked_at=None).order_by("pk"):
        revoke(key=key, reason="The directory deleted the user", actor=actor)
    invitations.withdraw(user=user, actor=actor)
    SocialAccount.objects.filter(user=user).delete()
    user.claimed_groups.all().delete()
    log(user, f"The directory deleted the user {user.username}.", actor=actor)
    user.refresh_from_db()
    user.username, user.email = f"{user.username[:120]}.deleted-{user.public_id[4:12]}", ""
    user.save(update_fields=["username", "email"])
