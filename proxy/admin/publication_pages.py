"""The admin's page of publications: which models organisations let others read, and who reads them."""

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_POST, require_safe

from keys import actions
from keys.formatting.sentences import to_sentence
from keys.models import Organisation
from keys.pages.frame import actor_of, query_value, redirect_see_other, render_page
from keys.rights.permissions import CHANGE_ORGANISATION, SEE_ORGANISATIONS
from proxy.ledger import publication_rules, publishing
from proxy.models import Publication

LATEST = 200  # publications on the page


@require_safe
def publications(request: HttpRequest) -> HttpResponse:
    """All of them, or those of one organisation, latest first. Staff who may change organisations withdraw one."""
    if not any(request.user.has_perm(name) for name in SEE_ORGANISATIONS):
        raise PermissionDenied
    rows, slug = Publication.objects.with_readers(), query_value(request, "organisation")
    if slug:
        rows = rows.filter(organisation__slug=slug)
    shown = rows[: LATEST + 1]
    return render_page(
        request,
        "admin/proxy/publications.html",
        model=Organisation,
        title="Published models",
        rows=shown[:LATEST],
        latest=LATEST if len(shown) > LATEST else None,
        slug=slug,
        organisation=Organisation.objects.filter(slug=slug).first() if slug else None,
        may_act=request.user.has_perm(CHANGE_ORGANISATION),
    )


@require_POST
@permission_required(CHANGE_ORGANISATION, raise_exception=True)
def withdraw(request: HttpRequest, pk: int) -> HttpResponse:
    publication = get_object_or_404(Publication.objects.with_publisher(), pk=pk)
    try:
        publishing.withdraw(publication=publication, actor=actor_of(request))
    except actions.ActionError as error:
        messages.error(request, to_sentence(error))
    else:
        messages.success(request, f"{publication.name} is withdrawn.")
    return to_list(request.POST.get("organisation", ""))


@require_POST
@permission_required(CHANGE_ORGANISATION, raise_exception=True)
def set_rule(request: HttpRequest, pk: int) -> HttpResponse:
    """Set which versions an organisation may publish."""
    organisation = get_object_or_404(Organisation, pk=pk)
    rule = request.POST.get("rule", "")
    try:
        publication_rules.set_rule(organisation=organisation, rule=rule, actor=actor_of(request))
    except actions.ActionError as error:
        messages.error(request, to_sentence(error))
    else:
        messages.success(request, f"The rule of {organisation} is changed.")
    return to_list(organisation.slug)


def to_list(slug: str) -> HttpResponse:
    """Back to the publications of one organisation, or with slug="" of all."""
    query = f"?{urlencode({'organisation': slug})}" if slug else ""
    return redirect_see_other(f"{reverse('publications')}{query}")
