"""The publications of a user's organisation: which models it lets others read, who reads them, and what it may read of
others. Its owners publish, withdraw, and set which versions may be published."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext
from django.views.decorators.http import require_POST

from keys import actions
from keys.formatting.sentences import to_sentence
from keys.models import Membership, Namespace
from keys.pages.frame import actor_of, posted_data
from keys.pages.submission import submit_form
from portal.account.forms import PublishForm
from portal.account.frame import page
from portal.account.organisations.overview import own_membership, show_form
from proxy.ledger import publication_rules, publishing
from proxy.models import Publication

LATEST = 200  # publications on the page
MEANING = (
    "Other organisations then read the model and download its files. The next page shows what they will see, before "
    "anything is published."
)


@login_required
def publications(request: HttpRequest, slug: str) -> HttpResponse:
    mine = own_membership(request, slug)
    own = Publication.objects.with_readers().filter(organisation=mine.organisation)
    readable = Publication.objects.with_publisher().readable_by(mine.organisation)
    context: dict[str, Any] = {}
    for name, rows in (("rows", own[: LATEST + 1]), ("readable", readable[: LATEST + 1])):
        context |= {name: rows[:LATEST], f"latest_{name}": LATEST if len(rows) > LATEST else None}
    return page(request, "organisation_publications.html", mine=mine, **context)


@login_required
def publish(request: HttpRequest, slug: str) -> HttpResponse:
    """Ask what to publish for whom, show what becomes visible, and publish it."""
    mine = own_membership(request, slug, Membership.Role.OWNER)
    form, shown = PublishForm(posted_data(request)), list[publishing.Visible]()

    def act() -> None:
        asked = form.publication()
        if request.POST.get("step") == "publish":
            publishing.publish(organisation=mine.organisation, **asked, actor=actor_of(request))
        else:
            publishing.validate_reader(mine.organisation, asked["reader"])
            namespace = Namespace.of(asked["environment"], mine.organisation)
            version = publishing.validate_version(asked["version"])
            shown.append(publishing.preview(namespace, asked["name"], version))

    if not submit_form(form, act):
        title, button = gettext("Publish a model"), gettext("Show what becomes visible")
        return show_form(request, mine, form, title, button, gettext(MEANING))
    if shown:
        context: dict[str, Any] = {"visible": shown[0], "words": publishing.VISIBLE, "form": form}
        return page(request, "organisation_publish.html", mine=mine, **context)
    messages.success(request, gettext("%(name)s is published.") % {"name": form.cleaned_data["name"]})
    return redirect("account-organisation-publications", slug)


@require_POST
@login_required
def withdraw(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    mine = own_membership(request, slug, Membership.Role.OWNER)
    publication = get_object_or_404(Publication, organisation=mine.organisation, pk=pk)
    try:
        publishing.withdraw(publication=publication, actor=actor_of(request))
    except actions.ActionError as error:
        messages.error(request, to_sentence(error))
    else:
        messages.success(request, gettext("%(name)s is withdrawn.") % {"name": publication.name})
    return redirect("account-organisation-publications", slug)


@require_POST
@login_required
def set_rule(request: HttpRequest, slug: str) -> HttpResponse:
    """Set which versions may be published."""
    mine = own_membership(request, slug, Membership.Role.OWNER)
    try:
        publication_rules.set_rule(
            organisation=mine.organisation, rule=request.POST.get("rule", ""), actor=actor_of(request)
        )
    except actions.ActionError as error:
        messages.error(request, to_sentence(error))
    else:
        messages.success(request, gettext("The rule is changed."))
    return redirect("account-organisation-publications", slug)
