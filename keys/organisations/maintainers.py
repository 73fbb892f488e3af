"""What the maintainers and owners of an organisation do themselves: invite members, add service users, manage keys."""

import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from keys.actions import invitations, organisations, self_service
from keys.actions.actor import Actor
from keys.actions.collecting import prepare
from keys.actions.errors import ActionError, NotAllowed
from keys.actions.history import log
from keys.actions.issuing import issue
from keys.models import ApiKey, MemberInvitation, Membership, Organisation, PreparedKey, User
from keys.rights.permissions import CHANGE_ORGANISATION
from keys.rights.scopes import Preset

LIFETIME = datetime.timedelta(days=14)  # of an invitation
Role = Membership.Role


def has_role(user: User | None, organisation: Organisation, role: Membership.Role) -> bool:
    """Whether the user (None: a command) acts in the organisation as a member of this role may: such a member, or staff
    who change organisations. Nobody has a role in a closed organisation, or in that of users without any."""
    if user is None or can_administer(user):
        return True
    if organisation.closed_at or organisation.is_shared:
        return False
    membership = organisation.memberships.filter(user=user, user__is_active=True).first()
    return membership is not None and membership.has_role(role)


def can_administer(user: User) -> bool:
    return user.is_active and user.is_staff and user.has_perm(CHANGE_ORGANISATION)


def require_role(actor: Actor, organisation: Organisation, role: Membership.Role) -> None:
    if not has_role(actor.user, organisation, role):
        article = "an" if role == Role.OWNER else "a"
        raise NotAllowed(f"only {article} {role.value} of {organisation} may do this")


@transaction.atomic
def invite_member(
    *, organisation: Organisation, email: str, role: str = Role.MEMBER, actor: Actor
) -> tuple[MemberInvitation, str]:
    """Invite the user with this address, who is added if there is none, into the organisation. Returns the invitation
    and, for a user who has no way to sign in yet, the secret of a sign-in link ("": none). The user accepts it, signed
    in: until then, nothing changes for them."""
    require_role(actor, organisation, Role.OWNER)
    organisation, role = organisations.lock(organisation), organisations.validate_role(role)
    email = email.strip()
    user = User.objects.filter(email__iexact=email, is_active=True).first() if email else None
    if user is None:
        if not email:
            raise ActionError("email: give the person's address")
        user = invitations.add_user(name=email, email=email)
    if organisation.memberships.filter(user=user).exists():
        raise ActionError(f"{email} is a member already")
    now = timezone.now()
    organisation.member_invitations.filter(user=user, ended_at=None).update(ended_at=now)
    made = MemberInvitation.objects.create(
        organisation=organisation,
        user=user,
        role=role,
        created_by=actor.user,
        expires_at=now + LIFETIME,
    )
    secret = ""
    if not user.has_usable_password() and user.last_login is None and not user.has_rights():
        _, secret = invitations.invite(user=user, actor=actor)
    log(organisation, f"Invited {email} as {role}.", actor=actor)
    return made, secret


@transaction.atomic
def answer_invitation(*, invitation: MemberInvitation, is_accepted: bool, actor: Actor) -> None:
    """Join the organisation, or decline. Raises NotAllowed for anybody but the invited user, signed in, and ActionError
    if the invitation has ended."""
    if actor.user is None or actor.key is not None or actor.user.pk != invitation.user_id:
        raise NotAllowed("only the invited user, signed in, accepts an invitation")
    invitation = end_invitation(invitation)
    if is_accepted:
        organisations.add_member(
            organisation=invitation.organisation, user=invitation.user, role=invitation.role, actor=actor
        )


@transaction.atomic
def withdraw_invitation(*, invitation: MemberInvitation, actor: Actor) -> None:
    require_role(actor, invitation.organisation, Role.OWNER)
    invitation = end_invitation(invitation)
    log(invitation.organisation, f"Invitation of {invitation.user.username} withdrawn.", actor=actor)


def end_invitation(invitation: MemberInvitation) -> MemberInvitation:
    rows = MemberInvitation.objects.select_for_update(of=("self",)).select_related("organisation", "user")
    invitation = rows.get(pk=invitation.pk)
    if invitation.ended_at or invitation.expires_at <= timezone.now():
        raise ActionError("the invitation has ended; ask for another one")
    invitation.ended_at = timezone.now()
    invitation.save(update_fields=["ended_at"])
    return invitation


@transaction.atomic
def add_service_user(*, organisation: Organisation, name: str, actor: Actor) -> User:
    """Add a machine of the organisation. Its name begins with the organisation's slug, so that two organisations do not
    learn of each other's names."""
    require_role(actor, organisation, Role.MAINTAINER)
    organisation = organisations.lock(organisation)
    if organisation.is_shared:
        raise ActionError("a service user belongs to an organisation; create one first")
    name = name.strip()
    if not name:
        raise ActionError("name: give the service user a name")
    user = invitations.add_user(name=f"{organisation.slug}.{name}")
    user.is_service = True
    user.save(update_fields=["is_service"])
    Membership.objects.create(organisation=organisation, user=user, created_by=actor.user)
    log(organisation, f"Added the service user {user.username}.", actor=actor)
    return user


@transaction.atomic
def issue_key(
    *,
    organisation: Organisation,
    owner: User,
    name: str,
    preset: Preset,
    expires_in: datetime.timedelta,
    actor: Actor,
    **rights: Any,
) -> tuple[ApiKey, str] | tuple[PreparedKey, str]:
    """Issue a key of the organisation, within the limits of self-service, as a maintainer. That of a service user and
    one's own is issued at once. A member collects theirs, so that nobody else sees the secret: what is returned then is
    what `prepare` returns."""
    require_role(actor, organisation, Role.MAINTAINER)
    if not organisation.memberships.filter(user=owner, user__is_active=True).exists():
        raise ActionError(f"{owner.username} is not an active member of {organisation}")
    if rights.keys() - {"purpose", "environment", "only_own"}:
        raise NotAllowed("only administrators set other rights than those of a preset")
    if preset not in self_service.presets():
        raise NotAllowed(f"a maintainer's key has at most the rights of {settings.SELF_SERVICE_PRESET}")
    longest = datetime.timedelta(days=settings.SELF_SERVICE_DAYS)
    if not datetime.timedelta(0) < expires_in <= longest:
        raise ActionError(f"such a key works for at most {longest.days} days")
    is_seen = owner.is_service or (actor.user is not None and owner.pk == actor.user.pk)
    make: Any = issue if is_seen else prepare
    made: tuple[ApiKey, str] = make(
        owner=owner,
        name=name,
        organisation=organisation,
        scopes=preset.scopes,
        expires_at=timezone.now() + expires_in,
        actor=actor,
        **rights,
    )
    return made


def managed_key(actor: Actor, organisation: Organisation, public_id: str) -> ApiKey:
    """A key of the organisation, for a maintainer to pause, resume or revoke. Raises NotAllowed and
    ApiKey.DoesNotExist."""
    require_role(actor, organisation, Role.MAINTAINER)
    return organisation.api_keys.with_owner().get(public_id=public_id.replace("\0", ""))
