"""An organisation's members, invitations and service users."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext
from django.views.decorators.http import require_POST

from keys import actions
from keys.actions import organisations
from keys.alerts.invitation_links import mail_membership
from keys.formatting.sentences import to_sentence
from keys.models import ApiKey, MemberInvitation, Membership
from keys.organisations import maintainers
from keys.pages.frame import actor_of, posted_data
from keys.pages.submission import submit_form
from portal.account.forms import InviteForm, MemberForm, ReasonForm, ServiceUserForm
from portal.account.frame import holder, page
from portal.account.organisations.overview import Role, back, own_membership, show_form


@login_required
def invite(request: HttpRequest, slug: str) -> HttpResponse:
    """Invite a person by mail."""
    mine = own_membership(request, slug, Role.OWNER)
    form, made = InviteForm(posted_data(request)), list[tuple[MemberInvitation, str]]()

    def act() -> None:
        answers = form.cleaned_data
        made.append(
            maintainers.invite_member(organisation=mine.organisation, **answers, actor=actor_of(request))
        )

    if not submit_form(form, act):
        meaning = gettext(
            "The person gets a mail, signs in and accepts. Until then, nothing changes for them."
        )
        return show_form(request, mine, form, gettext("Invite a member"), gettext("Invite"), meaning)
    invitation, secret = made[0]
    link, is_mailed = mail_membership(invitation, secret)
    if is_mailed:
        text = gettext("The invitation was mailed to %(email)s.") % {"email": invitation.user.email}
        return back(request, mine, text)
    return page(request, "organisation_invited.html", mine=mine, invitation=invitation, link=link)


@require_POST
@login_required
def withdraw(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """End an open invitation."""
    mine = own_membership(request, slug, Role.OWNER)
    invitation = get_object_or_404(mine.organisation.member_invitations.open(), pk=pk)
    maintainers.withdraw_invitation(invitation=invitation, actor=actor_of(request))
    return back(request, mine, gettext("The invitation is withdrawn."))


@require_POST
@login_required
def answer(request: HttpRequest, pk: int, verb: str) -> HttpResponse:
    """Accept or decline an invitation of one's own."""
    own = MemberInvitation.objects.open().filter(user=holder(request)).select_related("organisation")
    invitation = get_object_or_404(own, pk=pk)
    is_accepted = verb == "accept"
    try:
        maintainers.answer_invitation(invitation=invitation, is_accepted=is_accepted, actor=actor_of(request))
    except actions.ActionError as error:
        messages.error(request, to_sentence(error))
        return redirect("account")
    text = gettext("You are a member of %(name)s now.") if is_accepted else gettext("You declined %(name)s.")
    messages.success(request, text % {"name": invitation.organisation.name})
    return (
        redirect("account-organisation", invitation.organisation.slug) if is_accepted else redirect("account")
    )


def member_of(mine: Membership, public_id: str) -> Membership:
    rows = mine.organisation.memberships.select_related("user", "organisation")
    return get_object_or_404(rows, user__public_id=public_id.replace("\0", ""))


@login_required
def member(request: HttpRequest, slug: str, public_id: str) -> HttpResponse:
    """Change a member's role."""
    mine = own_membership(request, slug, Role.OWNER)
    membership = member_of(mine, public_id)
    form = MemberForm(posted_data(request), initial={"role": membership.role})

    def act() -> Membership:
        return organisations.set_member_role(
            membership=membership, role=form.cleaned_data["role"], actor=actor_of(request)
        )

    if not submit_form(form, act):
        title = gettext("The role of %(name)s") % {"name": membership.user.username}
        return show_form(request, mine, form, title, gettext("Save the role"))
    role = gettext(membership.get_role_display().lower())
    text = gettext("%(name)s is %(role)s now.") % {"name": membership.user.username, "role": role}
    return back(request, mine, text)


@login_required
def remove(request: HttpRequest, slug: str, public_id: str) -> HttpResponse:
    """Remove a member, and revoke the member's keys in the organisation."""
    mine = own_membership(request, slug, Role.OWNER)
    membership = member_of(mine, public_id)
    name = membership.user.username
    form, revoked = ReasonForm(posted_data(request)), list[ApiKey]()
    del form.fields["reason"]

    def act() -> None:
        revoked.extend(organisations.remove_member(membership=membership, actor=actor_of(request)))

    if not submit_form(form, act):
        meaning = gettext(
            "The person's keys in this organisation are revoked at once. What they created stays in it."
        )
        title = gettext("Remove %(username)s") % {"username": name}
        return show_form(request, mine, form, title, gettext("Remove"), meaning)
    if membership.user_id == holder(request).pk:
        messages.success(request, gettext("You left %(name)s.") % {"name": mine.organisation.name})
        return redirect("account")
    text = gettext("%(name)s is removed. Keys revoked: %(count)d.") % {"name": name, "count": len(revoked)}
    return back(request, mine, text)


@login_required
def add_service(request: HttpRequest, slug: str) -> HttpResponse:
    """Add a service user: a machine without a person."""
    mine = own_membership(request, slug, Role.MAINTAINER)
    form = ServiceUserForm(posted_data(request))

    def act() -> Any:
        return maintainers.add_service_user(
            organisation=mine.organisation, **form.cleaned_data, actor=actor_of(request)
        )

    if not submit_form(form, act):
        meaning = gettext(
            "A service user only holds keys of this organisation. It has no password, and cannot sign in. Its name "
            "begins with “%(slug)s.”."
        ) % {"slug": slug}
        return show_form(request, mine, form, gettext("Add a service user"), gettext("Add"), meaning)
    name = f"{slug}.{form.cleaned_data['name']}"
    return back(request, mine, gettext("The service user %(name)s is added.") % {"name": name})
