"""The keys of an organisation: what its maintainers do with them."""

from collections.abc import Callable
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext

from keys import actions
from keys.alerts.key_messages import write_message
from keys.models import ApiKey, PreparedKey
from keys.organisations import maintainers
from keys.pages.frame import actor_of, posted_data
from keys.pages.key_forms import RevokeForm
from keys.pages.keys import possible_actions
from keys.pages.submission import Submission, submit_form
from portal.account.forms import ReasonForm, TeamKeyForm
from portal.account.frame import holder, page
from portal.account.organisations.overview import Role, back, own_membership, show_form

VERBS = {
    "pause": (
        "Pause “%(name)s” of %(owner)s",
        "Pause key",
        "The portal refuses every call with this key until it is resumed.",
    ),
    "resume": (
        "Resume “%(name)s” of %(owner)s",
        "Resume key",
        "The portal accepts calls with this key again.",
    ),
    "revoke": (
        "Revoke “%(name)s” of %(owner)s",
        "Revoke key",
        "This cannot be undone. The portal refuses every further call with this key. What it created stays.",
    ),
}


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
        return show_form(
            request, mine, form, gettext("Issue a key of the organisation"), gettext("Issue key")
        )
    if prepared:
        message = write_message(*prepared[0], actor=actor_of(request))
        context: dict[str, Any] = {"mine": mine, "prepared": prepared[0][0], "message": message}
        return page(request, "organisation_prepared.html", **context)
    title = gettext("Key issued") if made.token else gettext("This key was issued already")
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
        messages.info(request, state_words(key))
        return redirect("account-organisation", slug)
    data = posted_data(request)
    form: forms.Form = RevokeForm(data, key=key) if verb == "revoke" else ReasonForm(data)
    if verb == "resume":
        del form.fields["reason"]
    change: Callable[..., ApiKey] = getattr(actions, verb)

    def act() -> ApiKey:
        reason = {} if verb == "resume" else {"reason": form.cleaned_data["reason"]}
        return change(key=key, actor=actor_of(request), **reason)

    title, button, meaning = VERBS[verb]
    if not submit_form(form, act):
        title = gettext(title) % {"name": key.name, "owner": key.owner.username}
        return show_form(request, mine, form, title, gettext(button), gettext(meaning))
    return back(request, mine, state_words(ApiKey.objects.get(pk=key.pk)))


def state_words(key: ApiKey) -> str:
    return gettext("“%(name)s” is %(state)s.") % {"name": key.name, "state": gettext(key.state)}
