"""The ledger's pages: registrations by user, key and model, a model's history, one registration, and exports. No page
counts the whole ledger. All are read-only."""

import datetime

from django.conf import settings
from django.contrib.auth.decorators import permission_required
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_safe

from keys.models import ApiKey, Namespace, Organisation
from keys.models.organisations import SHARED, SHARED_ID
from keys.pages.frame import query_value, render_page, row_number, row_or_404
from keys.rights import permissions
from proxy.ledger import compliance, history, verification
from proxy.lists import exports
from proxy.lists.listing import PER_PAGE, Pages, Slice
from proxy.lists.page_filters import RegistrationForm
from proxy.lists.read_replica import from_replica
from proxy.models import Owner, Registration, RegistrationQuerySet
from proxy.models.calls import EPOCH, Call
from proxy.provenance import presentation

MAX_CHECKED = 1000  # versions whose tags are checked for one page
MAX_LOOKALIKES = 20
HISTORY = 100  # entries of a model's history on one page

may_see = permission_required(permissions.VIEW_REGISTRATION, raise_exception=True)


@may_see
@require_safe
@from_replica
def ledger(request: HttpRequest) -> HttpResponseBase:
    """The registrations that match the filter, latest first."""
    asked = RegistrationForm(request.GET)
    rows = asked.matching_rows()
    if asked.is_valid() and asked.cleaned_data["rules"]:
        shown = with_rules(request, asked, rows)
    else:
        shown = pages(rows.with_people()).slice(request)
    return render_page(
        request,
        "admin/proxy/registration/ledger.html",
        model=Registration,
        title="Registrations",
        filter=asked,
        shown=shown,
        has_organisations=any(row.organisation_id != SHARED_ID for row in shown.rows),
        rules=exports.rules(shown.rows),
        head=verification.read_chain_state(),
        whose=subject_of(asked),
    )


def pages(rows: RegistrationQuerySet) -> Pages[Registration]:
    return Pages(
        place=lambda row: str(row.pk),
        older=lambda place, size: rows.page(size, before=int(place) if place else None),
        newer=lambda place, size: rows.page_before(int(place), size),
    )


def with_rules(
    request: HttpRequest, asked: RegistrationForm, matching: RegistrationQuerySet
) -> Slice[Registration]:
    """A page of the versions whose tags are now in the requested state. No column holds this state: at most MAX_CHECKED
    versions are checked, and the next page continues from there."""
    found, checked, last = list[int](), 0, row_number(request.GET.get("older", ""))
    light = matching.only(*compliance.COLUMNS)
    for page, findings in exports.checked_pages(light, before=last, most=MAX_CHECKED):
        labels = {pk: finding.label for pk, finding in findings.items()}
        found += [row.pk for row in page if asked.wants(row, labels.get(row.pk, ""))]
        checked, last = checked + len(page), page[-1].pk
        if len(found) > PER_PAGE:
            break
    rows = list(matching.with_people().filter(pk__in=found[:PER_PAGE]).order_by("-id"))
    if len(found) > PER_PAGE:
        return Slice(rows=rows, older=f"older={rows[-1].pk}", looked_through=checked)
    if checked == MAX_CHECKED:
        return Slice(rows=rows, older=f"older={last}", looked_through=checked)
    return Slice(rows=rows)


def subject_of(asked: RegistrationForm) -> dict[str, object]:
    """The user, key or model that the filter selects, if any."""
    if not asked.is_valid():
        return {}
    answers = asked.cleaned_data
    keys: list[ApiKey] = answers["key"] or []
    return {
        "user": answers["user"],
        "key": keys[0] if len(keys) == 1 else None,
        "model": answers["model"],
    }


@may_see
@require_safe
def registration(request: HttpRequest, object_id: str) -> HttpResponseBase:
    """One registration: its own page, or the fragment for the list's drawer (?part=1)."""
    row = row_or_404(Registration.objects.with_people(), object_id)
    call = None
    if request.user.has_perm(permissions.VIEW_CALL):
        call = Call.objects.filter(request_id=row.request_id).first()
    manifest = row.manifests.select_related("row", "registration", "scan").order_by("-id").first()
    template = "part" if "part" in request.GET else "registration"
    return render_page(
        request,
        f"admin/proxy/registration/{template}.html",
        model=Registration,
        title="A registration",
        row=row,
        finding=exports.rules([row]).get(row.pk),
        call=call,
        provenance=presentation.present(manifest, public_url=settings.PUBLIC_URL) if manifest else None,
        words=history.describe(row),
        made=EPOCH + datetime.timedelta(milliseconds=row.created_ms) if row.created_ms else None,
    )


def namespace_or_404(environment: str, slug: str) -> Namespace:
    try:
        return Namespace.find(environment, slug)
    except Organisation.DoesNotExist:
        raise Http404 from None


@may_see
@require_safe
@from_replica
def model(request: HttpRequest) -> HttpResponseBase:
    """The history of a model, under all its names and across deletions."""
    name, environment = query_value(request, "name"), query_value(request, "environment", "live")
    if not name or environment not in ApiKey.Environment.values:
        return redirect("admin:proxy_registration_changelist")
    organisation = query_value(request, "organisation", SHARED)
    namespace = namespace_or_404(environment, organisation)
    rows = Registration.objects.of_model(namespace, name).with_people()
    shown = pages(rows).slice(request, HISTORY)
    if not shown.rows:
        raise Http404
    versions = history.list_versions(rows)
    return render_page(
        request,
        "admin/proxy/registration/model.html",
        model=Registration,
        title="A model",
        name=name,
        organisation=organisation,
        registry=environment,  # unfold uses the name `environment` for its badge
        shown=shown,
        timeline=history.make_timeline(shown.rows),
        versions=versions,
        quarantined=[version for version in versions if version.rules and version.rules.quarantine],
        is_prompt=shown.rows[0].is_prompt,
        lookalikes=Owner.objects.look_like(namespace, name)[:MAX_LOOKALIKES],
    )


@may_see
@require_safe
@from_replica
def export(request: HttpRequest) -> HttpResponseBase:
    """All registrations that match the filter, as CSV or JSON Lines (?form=jsonl)."""
    asked, form = RegistrationForm(request.GET), request.GET.get("form", "csv")
    if not asked.is_valid() or form not in exports.TYPES:
        return redirect(
            f"{reverse('admin:proxy_registration_changelist')}?{asked.query}"
        )  # that page shows the error
    rows = exports.registrations(asked.matching_rows(), keep=asked.wants)
    return exports.download("registrations", form, exports.REGISTRATION_FIELDS, rows)
