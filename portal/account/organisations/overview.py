"""The page of one of the user's organisations, and the choice for MLflow's pages; what the pages about one share.

An organisation in which the user has no role does not exist for them: every address of it is a 404.
"""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST

from keys import limits
from keys.lists.states import with_leaks
from keys.models import Membership, Organisation
from portal.account import usage
from portal.account.frame import holder, page
from portal.account.own_registrations import with_rules
from proxy.lists import exports
from proxy.models import CallTotal, Registration
from proxy.policy.browser import CHOSEN
from proxy.routes.ui_links import ROOT

SIZE = 100  # keys on the page, the newest
LATEST = 10  # registrations on the page
Role = Membership.Role


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
