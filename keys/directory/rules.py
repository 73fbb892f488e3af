"""Group rules: which roles a user's groups grant, and how they come and go.

A rule changes only what rules granted: `Membership.rule_role` and `User.rule_role` hold it, beside what a person gave.
"""

from collections.abc import Iterable

from django.db import transaction
from django.db.models import Q

from keys.actions import ActionError, NotAllowed
from keys.actions.accounts import change_role
from keys.actions.actor import COMMAND, Actor
from keys.actions.history import log
from keys.actions.organisations import highest_role, lock, remove_member
from keys.actions.rights import validate_text
from keys.models import (
    SHARED_ID,
    STAFF_ROLES,
    ClaimedGroups,
    DirectoryGroup,
    DirectoryUser,
    GroupRule,
    Membership,
    Organisation,
    User,
)
from keys.rights.permissions import CHANGE_ORGANISATION
from keys.rights.roles import Role

Group = tuple[int, str]  # the directory's number, and a name or an id of the group


@transaction.atomic
def add_rule(
    *,
    group: str,
    role: str,
    organisation: Organisation | None = None,
    directory: Organisation | None = None,
    actor: Actor = COMMAND,
) -> GroupRule:
    """Grant the users in a group a role: in `organisation`, or without one in staff. `directory`: the organisation
    whose directory and providers name the group; None: those for all. Raises ActionError, NotAllowed."""
    check_actor(organisation, directory, actor)
    validate_text("group", group)
    if not group.strip():
        raise ActionError("group: give the group's name or its id in the directory")
    allowed: list[str] = (
        list(Membership.Role.values) if organisation else [each.value for each in STAFF_ROLES]
    )
    if role not in allowed:
        where = f"in {organisation}" if organisation else "in staff"
        raise ActionError(f"role: a rule grants {where} one of {', '.join(allowed)}")
    if organisation is not None:
        lock(organisation)
        if organisation.is_shared:
            raise ActionError("the organisation “shared” has no members; name another one")
    directory_id = int(directory.pk) if directory else SHARED_ID
    if directory_id != SHARED_ID and (organisation is None or organisation.pk != directory_id):
        raise ActionError("the directory of an organisation grants roles in this organisation only")
    same = GroupRule.objects.filter(directory_id=directory_id, group=group, organisation=organisation)
    if same.exists():
        raise ActionError("there is a rule for this group already; remove it first")
    rule = GroupRule.objects.create(
        directory_id=directory_id,
        group=group,
        organisation=organisation,
        role=role,
        created_by=actor.user,
    )
    if organisation:
        log(organisation, f"Added the group rule {rule}.", actor=actor)
    apply_to(users_in_group(directory_id, group), actor)
    return rule


@transaction.atomic
def remove_rule(*, rule: GroupRule, actor: Actor = COMMAND) -> None:
    """Remove a rule, and the roles that only it granted. Raises NotAllowed."""
    directory = None if rule.directory_id == SHARED_ID else rule.directory
    check_actor(rule.organisation, directory, actor)
    words, users = str(rule), list(users_in_group(rule.directory_id, rule.group))
    rule.delete()
    if rule.organisation:
        log(rule.organisation, f"Removed the group rule {words}.", actor=actor)
    apply_to(users, actor)


def check_actor(organisation: Organisation | None, directory: Organisation | None, actor: Actor) -> None:
    """Raise NotAllowed unless the actor may make such a rule: for a role in staff a signed-in superuser, as for every
    role; for a role in an organisation staff who change organisations, or for its own directory one of its owners."""
    if actor.user is None:
        return
    if organisation is None:
        if actor.key:
            raise NotAllowed("only a signed-in person may make rules for staff; a key may not")
        if not actor.user.is_superuser:
            raise NotAllowed("only a superuser may make rules for roles in staff")
        return
    if actor.user.is_active and actor.user.is_staff and actor.user.has_perm(CHANGE_ORGANISATION):
        return
    own = organisation.memberships.filter(user=actor.user, user__is_active=True, role=Membership.Role.OWNER)
    if directory is None or directory.pk != organisation.pk or not own.exists():
        raise NotAllowed(f"only staff, and for its own directory an owner of {organisation}, may do this")


def users_in_group(directory: int | None, name: str) -> Iterable[User]:
    in_directory = DirectoryGroup.objects.filter(directory_id=directory).filter(
        Q(name=name) | Q(external_id=name) | Q(public_id=name)
    )
    claimed = ClaimedGroups.objects.filter(directory_id=directory, groups__contains=[name])
    return User.objects.filter(
        Q(directory_user__groups__in=in_directory) | Q(claimed_groups__in=claimed)
    ).distinct()


def groups_of(user: User) -> set[Group]:
    """By name and by each id, from the directory and from the last sign-in at each provider."""
    rows = DirectoryGroup.objects.filter(members__user=user)
    found = {
        (row.directory_id, name)
        for row in rows
        for name in (row.name, row.external_id, row.public_id)
        if name
    }
    return found | {(row.directory_id, name) for row in user.claimed_groups.all() for name in row.groups}


def find_grants(groups: set[Group], rules: Iterable[GroupRule]) -> tuple[dict[int, str], Role | None]:
    """The highest role by organisation, and that in staff. Pure."""
    members: dict[int, str] = {}
    staff: list[Role] = []
    for rule in rules:
        if (rule.directory_id, rule.group) not in groups:
            continue
        if rule.organisation_id is None:
            staff.append(Role(rule.role))
        else:
            members[rule.organisation_id] = highest_role(members.get(rule.organisation_id, ""), rule.role)
    return members, max(staff, key=STAFF_ROLES.index, default=None)


def record_claim(
    *, user: User, provider: str, directory: Organisation, groups: list[str], actor: Actor
) -> None:
    """Remember the groups that a provider names for a user who signs in, and apply the rules."""
    names = sorted({name[:255] for name in groups if name and "\0" not in name})[:1000]
    ClaimedGroups.objects.update_or_create(
        user=user, provider=provider, defaults={"directory": directory, "groups": names}
    )
    apply_to([user], actor)


def apply_to(users: Iterable[User], actor: Actor) -> None:
    for user in users:
        apply_rules(user, actor)


@transaction.atomic
def apply_rules(user: User, actor: Actor) -> None:
    """Give and take the roles that the user's groups grant. Members of an organisation's directory are its members."""
    user = User.objects.select_for_update().get(pk=user.pk)
    if user.is_service:
        return
    open_rules = GroupRule.objects.filter(Q(organisation=None) | Q(organisation__closed_at=None))
    members, staff = find_grants(groups_of(user), open_rules)
    row = DirectoryUser.objects.select_related("directory").filter(user=user).first()
    if row and not row.directory.is_shared and not row.directory.closed_at:
        members[row.directory_id] = highest_role(members.get(row.directory_id, ""), Membership.Role.MEMBER)
    held = {each.organisation_id: each for each in user.memberships.select_related("organisation", "user")}
    for organisation_id in sorted(members.keys() | held.keys()):
        membership = held.get(organisation_id)
        wanted = members.get(organisation_id, "")
        if membership is None or membership.rule_role != wanted:
            grant_membership(user, organisation_id, membership, wanted, actor)
    grant_staff(user, staff, actor)


def grant_membership(
    user: User, organisation_id: int, membership: Membership | None, wanted: str, actor: Actor
) -> None:
    """`wanted`: what rules grant; "": nothing any more."""
    organisation = Organisation.objects.get(pk=organisation_id)
    if organisation.closed_at:
        return
    if membership is None:
        Membership.objects.create(organisation=organisation, user=user, role=wanted, rule_role=wanted)
        log(organisation, f"Group rules made {user.username} {wanted}.", actor=actor)
        return
    by_hand = membership.hand_role if membership.rule_role else membership.role
    if not wanted and not by_hand:
        remove_member(membership=membership, actor=actor, is_by_rule=True)
        return
    membership.role, membership.rule_role = highest_role(by_hand, wanted), wanted
    membership.hand_role = by_hand if wanted else ""
    membership.save(update_fields=["role", "rule_role", "hand_role"])
    log(organisation, f"Group rules: {user.username} is {membership.role} now.", actor=actor)


def grant_staff(user: User, wanted: Role | None, actor: Actor) -> None:
    """Only between the role of a key holder and what rules grant: a role that a person gave stays."""
    is_by_rule = bool(user.rule_role)
    if wanted is None and is_by_rule:
        change_role(user, Role.HOLDER, actor=actor)
    elif wanted is not None and user.rule_role != wanted and (is_by_rule or not user.has_rights()):
        change_role(user, wanted, by_rule=True, actor=actor)
