"""A user's organisations: the page of one, what its maintainers and owners do there, and the choice for MLflow's pages.

An organisation in which the user has no role does not exist for them: every address of it is a 404.
"""

from collections.abc import Callable
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST

from keys import actions, limits
from keys.actions import organisations
from keys.alerts.invitation_links import mail_membership
from keys.alerts.key_messages import write_message
from keys.formatting.sentences import to_sentence
from keys.lists.states import with_leaks
from keys.models import ApiKey, MemberInvitation, Membership, Organisation, PreparedKey
from keys.organisations import maintainers
from keys.pages.frame import actor_of, posted_data
from keys.pages.key_forms import RevokeForm
from keys.pages.keys import possible_actions
from keys.pages.submission import Submission, submit_form
from portal.account import usage
from portal.account.forms import InviteForm, MemberForm, ReasonForm, ServiceUserForm, TeamKeyForm
from portal.account.frame import holder, page
from portal.account.own_registrations import with_rules
from proxy.lists import exports
from proxy.models import CallTotal, Registration
from proxy.policy.browser import CHOSEN
from proxy.routes.ui_links import ROOT

SIZE = 100  # keys on the page, the newest
LATEST = 10  # registrations on the page
Role = Membership.Role
VERBS = {
    "pause": ("Pause", "The portal refuses every call with this key until it is resumed."),
    "resume": ("Resume", "The portal accepts calls with this key again."),
    "revoke": (
        "Revoke",
        "This cannot be undone. The portal refuses every further call with this key. What it created stays.",
    ),
}


def own_membership(request: HttpRequest, slug: str, role: Membership.Role = Role.MEMBER) -> Membership:
    """Raises Http404 unless the user has this role in the organisation, or a higher one."""
    rows = Membership.objects.select_related("organisation", "user")
    membership = get_object_or_404(
        rows, organisation__slug=slug, organisation__closed_at=None, user=holder(request)
    )
    if not membership.has_role(role):
        raise Http404
    return membership


@require_POST
@login_required
def choose(request: HttpRequest) -> HttpResponse:
    """Open MLflow's pages in another organisation of the user's: its slug stays in the session."""
    slug = request.POST.get("organisation", "").replace("\0", "")
    organisation = get_object_or_404(Organisation.objects.of_user(holder(request)), slug=slug)
    request.session[CHOSEN] = organisation.slug
    return redirect(ROOT)


@login_required
def organisation(request: HttpRequest, slug: str) -> HttpResponse:
    """The name and the user's own role; for maintainers also members, keys, usage and registrations."""
    mine = own_membership(request, slug)
    context: dict[str, Any] = {}
    if mine.manages_keys:
        own = mine.organisation
        rows = Registration.objects.filter(organisation=own).with_people().page(LATEST)
        context = {
            "members": own.memberships.select_related("user").order_by("user__username"),
            "invitations": own.member_invitations.open().select_related("user"),
            "keys": with_leaks(own.api_keys.with_owner().with_calls().order_by("-pk"))[:SIZE],
            "used": limits.read_organisation_use(own),
            "chart": usage.chart(CallTotal.objects.filter(organisation=own), usage.PERIODS["30d"]),
            "rows": with_rules(rows),
            "downloads": downloads(),
        }
    return page(request, "organisation.html", mine=mine, **context)


def downloads() -> list[tuple[str, str, list[tuple[str, str]]]]:
    """What owners download: its name in the address, in words, and the forms of files."""
    labels = {"csv": "CSV", "jsonl": "JSON Lines", "parquet": "Parquet"}
    forms = {"calls": exports.log_forms(), "registrations": list(exports.TYPES), "usage": exports.log_forms()}
    return [
        (what, what.capitalize(), [(form, labels[form]) for form in known]) for what, known in forms.items()
    ]


def show_form(
    request: HttpRequest, mine: Membership, form: forms.Form, title: str, button: str, meaning: str = ""
) -> HttpResponse:
    """A page with one form, which leads back to the organisation."""
    context: dict[str, Any] = {"form": form, "heading": title, "button": button, "meaning": meaning}
    return page(request, "organisation_form.html", mine=mine, **context)


def back(request: HttpRequest, mine: Membership, text: str) -> HttpResponse:
    messages.success(request, text)
    return redirect("account-organisation", mine.organisation.slug)


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
        meaning = "The person gets a mail, signs in and accepts. Until then, nothing changes for them."
        return show_form(request, mine, form, "Invite a member", "Invite", meaning)
    invitation, secret = made[0]
    link, is_mailed = mail_membership(invitation, secret)
    if is_mailed:
        return back(request, mine, f"The invitation was mailed to {invitation.user.email}.")
    return page(request, "organisation_invited.html", mine=mine, invitation=invitation, link=link)


@require_POST
@login_required
def withdraw(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """End an open invitation."""
    mine = own_membership(request, slug, Role.OWNER)
    invitation = get_object_or_404(mine.organisation.member_invitations.open(), pk=pk)
    maintainers.withdraw_invitation(invitation=invitation, actor=actor_of(request))
    return back(request, mine, "The invitation is withdrawn.")


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
    name = invitation.organisation.name
    messages.success(request, f"You are a member of {name} now." if is_accepted else f"You declined {name}.")
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
        return show_form(request, mine, form, f"The role of {membership.user.username}", "Save the role")
    return back(request, mine, f"{membership.user.username} is {membership.get_role_display().lower()} now.")


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
        meaning = "The person's keys in this organisation are revoked at once. What they created stays in it."
        return show_form(request, mine, form, f"Remove {name}", "Remove", meaning)
    if membership.user_id == holder(request).pk:
        messages.success(request, f"You left {mine.organisation.name}.")
        return redirect("account")
    return back(request, mine, f"{name} is removed. Keys revoked: {len(revoked)}.")


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
        meaning = (
            "A service user only holds keys of this organisation. It has no password, and cannot sign in. "
            f"Its name begins with “{slug}.”."
        )
        return show_form(request, mine, form, "Add a service user", "Add", meaning)
    return back(request, mine, f"The service user {slug}.{form.cleaned_data['name']} is added.")


@login_required
def issue(request: HttpRequest, slug: str) -> HttpResponse:
    """Issue a key of the organisation. The response shows the secret of a service user's key and of one's own; a member
    collects theirs."""
    mine = own_membership(request, slug, Role.MAINTAINER)
    form, made = TeamKeyForm(posted_data(request), organisation=mine.organisation), Submission(request)
    prepared: list[tuple[PreparedKey, str]] = []

    def act() -> tuple[ApiKey, str]:
        return cast(
            tuple[ApiKey, str],
            maintainers.issue_key(organisation=mine.organisation, **form.rights(), actor=actor_of(request)),
        )

    def run() -> None:
        owner = form.cleaned_data["owner"]
        if owner.is_service or owner.pk == holder(request).pk:
            made.run(form, act)
        else:
            prepared.append(cast(tuple[PreparedKey, str], act()))

    if not submit_form(form, run):
        return show_form(request, mine, form, "Issue a key of the organisation", "Issue key")
    if prepared:
        message = write_message(*prepared[0], actor=actor_of(request))
        context: dict[str, Any] = {"mine": mine, "prepared": prepared[0][0], "message": message}
        return page(request, "organisation_prepared.html", **context)
    title = "Key issued" if made.token else "This key was issued already"
    shown: dict[str, Any] = {"title": title, "key": made.key, "token": made.token, "mine": mine}
    return page(request, "organisation_secret.html", **shown)


@login_required
def act_on_key(request: HttpRequest, slug: str, public_id: str, verb: str) -> HttpResponse:
    """Pause, resume or revoke a key of the organisation."""
    mine = own_membership(request, slug, Role.MAINTAINER)
    try:
        key = maintainers.managed_key(actor_of(request), mine.organisation, public_id)
    except ApiKey.DoesNotExist:
        raise Http404 from None
    if verb not in possible_actions(key):
        messages.info(request, f"“{key.name}” is {key.state}.")
        return redirect("account-organisation", slug)
    data = posted_data(request)
    form: forms.Form = RevokeForm(data, key=key) if verb == "revoke" else ReasonForm(data)
    if verb == "resume":
        del form.fields["reason"]
    change: Callable[..., ApiKey] = getattr(actions, verb)

    def act() -> ApiKey:
        reason = {} if verb == "resume" else {"reason": form.cleaned_data["reason"]}
        return change(key=key, actor=actor_of(request), **reason)

    word, meaning = VERBS[verb]
    if not submit_form(form, act):
        title = f"{word} “{key.name}” of {key.owner.username}"
        return show_form(request, mine, form, title, f"{word} key", meaning)
    return back(request, mine, f"“{key.name}” is {key.__class__.objects.get(pk=key.pk).state}.")
