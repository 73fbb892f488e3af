"""Actions on organisations: create, change and close one; add, change and remove its members."""

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from keys.actions.actor import COMMAND, Actor
from keys.actions.errors import ActionError, NotAllowed
from keys.actions.history import log
from keys.actions.rights import validate_text
from keys.actions.stopping import revoke
from keys.models import ApiKey, Membership, Organisation, User, validate_slug
from keys.models.organisations import LIMITS


@transaction.atomic
def create_organisation(*, slug: str, name: str = "", actor: Actor = COMMAND) -> Organisation:
    """Create an organisation. Its workspace at MLflow is created with its first call. Raises ActionError for a slug
    that MLflow would not accept, or that an organisation has or had."""
    try:
        validate_slug(slug)
    except ValidationError as error:
        raise ActionError(f"slug: {error.messages[0]}") from None
    validate_text("name", name)
    if Organisation.objects.filter(slug=slug).exists():
        raise ActionError(
            f"there is or was an organisation “{slug}”, and a slug is never used again; choose another one"
        )
    organisation = Organisation.objects.create(slug=slug, name=name or slug, created_by=actor.user)
    log(organisation, "Created.", actor=actor)
    return organisation


@transaction.atomic
def change_organisation(
    *, organisation: Organisation, actor: Actor = COMMAND, **changes: Any
) -> Organisation:
    """Change its name or its limits (`keys.models.organisations.LIMITS`). Raises ActionError."""
    organisation = lock(organisation)
    if unknown := changes.keys() - {"name", *LIMITS}:
        raise ActionError(f"cannot change {', '.join(sorted(unknown))}")
    for field, value in changes.items():
        if field in LIMITS and value is not None and value < 1:
            raise ActionError(f"{field}: give a positive number, or nothing for no limit")
        if field == "name":
            validate_text("name", value)
        setattr(organisation, field, value)
    organisation.save(update_fields=list(changes))
    log(organisation, f"Changed {', '.join(sorted(changes))}.", actor=actor)
    return organisation


@transaction.atomic
def close_organisation(
    *, organisation: Organisation, reason: str = "", actor: Actor = COMMAND
) -> list[ApiKey]:
    """Close it for good: revoke its keys, and let nobody act in it. Its objects stay at MLflow, and its history here.
    Returns the revoked keys. Raises ActionError for the organisation of users without any."""
    organisation = lock(organisation)
    if organisation.is_shared:
        raise ActionError("the organisation “shared” stays open: users without an organisation use it")
    words = f"The organisation was closed{f': {reason}' if reason else ''}"
    revoked = [revoke(key=key, reason=words, actor=actor) for key in working_keys(organisation)]
    organisation.closed_at = timezone.now()
    organisation.save(update_fields=["closed_at"])
    log(organisation, "Closed.", actor=actor)
    return revoked


@transaction.atomic
def add_member(
    *,
    organisation: Organisation,
    user: User,
    role: str = Membership.Role.MEMBER,
    actor: Actor = COMMAND,
) -> Membership:
    """Add a user to an organisation. Raises ActionError for a member, and for a service user of another one."""
    organisation = lock(organisation)
    if user.is_service:
        raise ActionError(f"{user.username} is a service user, which belongs to one organisation")
    role = validate_role(role)
    if Membership.objects.filter(organisation=organisation, user=user).exists():
        raise ActionError(f"{user.username} is a member of {organisation} already; change the role instead")
    membership = Membership.objects.create(
        organisation=organisation, user=user, role=role, created_by=actor.user
    )
    log(organisation, f"Added {user.username} as {role}.", actor=actor)
    return membership


@transaction.atomic
def set_member_role(*, membership: Membership, role: str, actor: Actor = COMMAND) -> Membership:
    """Change a member's role. Raises ActionError for the last owner."""
    lock(membership.organisation)
    role = validate_role(role)
    if highest_role(role, membership.rule_role) != role:
        raise ActionError(
            f"a group rule makes {membership.user.username} {membership.rule_role}; change the groups or the rule"
        )
    if membership.user.is_service and role != Membership.Role.MEMBER:
        raise ActionError(f"{membership.user.username} is a service user, and so a member only")
    if role != Membership.Role.OWNER:
        check_owner_remains(membership)
    membership.role, membership.hand_role = role, role if membership.rule_role else ""
    membership.save(update_fields=["role", "hand_role"])
    log(membership.organisation, f"{membership.user.username} is {role} now.", actor=actor)
    return membership


@transaction.atomic
def remove_member(
    *, membership: Membership, actor: Actor = COMMAND, is_by_rule: bool = False
) -> list[ApiKey]:
    """Remove a member, and revoke the member's keys in the organisation; returns them. What they created stays the
    organisation's. Raises ActionError for the last owner of others, except if group rules remove the member."""
    organisation, user = lock(membership.organisation), membership.user
    if not is_by_rule and organisation.memberships.exclude(pk=membership.pk).exists():
        check_owner_remains(membership)
    keys = working_keys(organisation).filter(owner=user)
    revoked = [revoke(key=key, reason=f"{user.username} left {organisation}", actor=actor) for key in keys]
    membership.delete()
    log(organisation, f"Removed {user.username}.", actor=actor)
    return revoked


def check_owner_remains(membership: Membership) -> None:
    others = membership.organisation.memberships.filter(role=Membership.Role.OWNER).exclude(pk=membership.pk)
    if membership.role == Membership.Role.OWNER and not others.exists():
        raise ActionError(
            f"{membership.user.username} is the last owner of {membership.organisation}; make another one first"
        )


def highest_role(*roles: str) -> str:
    """The highest of these roles of members; "" is lower than all of them."""
    order = ["", *Membership.Role.values]
    return max(roles, key=order.index)


def validate_role(role: str) -> str:
    if role not in Membership.Role.values:
        raise ActionError(f"there is no role “{role}”; give one of {', '.join(Membership.Role.values)}")
    return role


def working_keys(organisation: Organisation) -> Any:
    return organisation.api_keys.filter(revoked_at=None).order_by("pk")


def lock(organisation: Organisation) -> Organisation:
    """The row as it is now, locked until the transaction ends. Raises ActionError for a closed organisation."""
    organisation = Organisation.objects.select_for_update().get(pk=organisation.pk)
    if organisation.closed_at:
        raise ActionError(
            f"the organisation “{organisation}” was closed on {organisation.closed_at:%Y-%m-%d}"
        )
    return organisation


def organisation_for(user: User, wanted: Organisation | None = None) -> Organisation:
    """The organisation of a new key: the wanted one if the user may have keys there, else the user's only one, or
    `shared` for a user without any. Raises ActionError."""
    own = list(Organisation.objects.of_user(user))
    if wanted is None:
        if len(own) == 1:
            return own[0]
        slugs = ", ".join(each.slug for each in own)
        raise ActionError(
            f"{user.username} is in several organisations ({slugs}); state the key's organisation"
        )
    if wanted not in own:
        raise ActionError(f"{user.username} is not a member of {wanted}; add the user to it first")
    return wanted


def validate_also(owner: User, slugs: Sequence[str], actor: Actor) -> list[str]:
    """The slugs of the organisations in which the owner's key may act besides its own. Raises NotAllowed unless a
    superuser or a command gives them, ActionError for an owner who is not staff and for an unknown organisation."""
    wanted = list(dict.fromkeys(slugs))
    if not wanted:
        return []
    if actor.key or (actor.user is not None and not actor.user.is_superuser):
        raise NotAllowed("only a superuser may issue a key that acts in several organisations")
    if not owner.is_staff:
        raise ActionError(
            f"{owner.username} is not staff, and only keys of staff act in several organisations; issue one key in each"
        )
    unknown = set(wanted) - set(
        Organisation.objects.open().filter(slug__in=wanted).values_list("slug", flat=True)
    )
    if unknown:
        raise ActionError(f"there is no organisation {', '.join(sorted(unknown))}")
    return wanted
