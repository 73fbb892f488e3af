"""The usage log's pages: search, page through, view and export calls. No page counts or sorts the whole log."""

from django.conf import settings
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_safe

from keys.models.organisations import SHARED_ID
from keys.pages.frame import render_page, row_or_404
from keys.rights import permissions
from proxy.lists import exports, page_filters
from proxy.lists.listing import Pages
from proxy.lists.page_filters import CallForm
from proxy.lists.read_replica import from_replica
from proxy.models import Registration, UncalledRequest
from proxy.models.calls import EVERY_DAY, Call, Cursor
from proxy.routes.table import OPERATIONS

may_see = permission_required(permissions.VIEW_CALL, raise_exception=True)


@may_see
@require_safe
@from_replica
def log(request: HttpRequest) -> HttpResponseBase:
    """The calls that match the filter, latest first."""
    asked = CallForm(request.GET)
    calls = asked.matching_rows().with_caller()
    shown = Pages(
        place=lambda call: str(call.cursor),
        older=lambda place, size: calls.page(
            after=Cursor.parse(place) if place else None, size=size, windows=EVERY_DAY
        ),
        newer=lambda place, size: calls.page_before(Cursor.parse(place), size=size),
    ).slice(request)
    return render_page(
        request,
        "admin/proxy/call/log.html",
        model=Call,
        title="Usage log",
        filter=asked,
        shown=shown,
        has_organisations=any(call.organisation_id != SHARED_ID for call in shown.rows),
        uncalled=None if shown.rows else find_uncalled(asked),
        retention=settings.USAGE_RETENTION_DAYS,
        operations=page_filters.names(OPERATIONS),
        forms=exports.log_forms(),
    )


def find_uncalled(asked: CallForm) -> UncalledRequest | None:
    """The refusal of the request whose id the filter has, if it became no call."""
    request_id = asked.cleaned_data.get("request_id", "") if asked.is_valid() else ""
    return UncalledRequest.find(request_id) if request_id else None


@may_see
@require_safe
def call(request: HttpRequest, object_id: str) -> HttpResponseBase:
    """One call: its own page, or the fragment for the log's drawer (?part=1)."""
    matching = row_or_404(Call.objects.with_caller(), object_id)
    registration = None
    if request.user.has_perm(permissions.VIEW_REGISTRATION):
        registration = Registration.objects.filter(request_id=matching.request_id).first()
    template = "part" if "part" in request.GET else "call"
    return render_page(
        request,
        f"admin/proxy/call/{template}.html",
        model=Call,
        title="A call",
        call=matching,
        registration=registration,
    )


@may_see
@require_safe
@from_replica
def export(request: HttpRequest) -> HttpResponseBase:
    """All calls that match the filter, as CSV, or in the form of ?form=."""
    asked, form = CallForm(request.GET), request.GET.get("form", "csv")
    if not asked.is_valid() or form not in exports.log_forms():
        return redirect(
            f"{reverse('admin:proxy_call_changelist')}?{asked.query}"
        )  # that page shows the error
    return exports.download("calls", form, exports.CALL_FIELDS, exports.calls(asked.matching_rows()))
