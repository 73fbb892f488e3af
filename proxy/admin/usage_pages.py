"""The admin's page of usage for accounting, and its export."""

from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_safe

from keys.pages.frame import render_page
from keys.rights.permissions import VIEW_CALL
from proxy.lists import exports
from proxy.lists.listing import find_in
from proxy.lists.read_replica import from_replica
from proxy.lists.usage_report import FIELDS, PRESETS, UsageForm, all_rows, make_report
from proxy.models import CallTotal, HourTotal

may_see = permission_required(VIEW_CALL, raise_exception=True)
find = may_see(find_in("usage-report"))


@may_see
@require_safe
@from_replica
def usage(request: HttpRequest) -> HttpResponseBase:
    """Calls and bytes by user and key, for a period, with totals and a chart."""
    form = UsageForm(request.GET)
    report = make_report(form, CallTotal.objects.all(), hours=HourTotal.objects.all())
    return render_page(
        request,
        "admin/proxy/usage.html",
        opts=None,
        title="Usage",
        filter=form,
        report=report,
        presets=PRESETS,
        chosen=form.cleaned_data.get("span", "") if report else "",
        forms=exports.log_forms(),
    )


@may_see
@require_safe
@from_replica
def export(request: HttpRequest) -> HttpResponseBase:
    """All rows of the report as CSV, or in the form of ?form=."""
    form, file_form = UsageForm(request.GET), request.GET.get("form", "csv")
    if not form.is_valid() or file_form not in exports.log_forms():
        return redirect(f"{reverse('usage-report')}?{form.query}")  # that page shows the error
    return exports.download("usage", file_form, FIELDS, all_rows(form, CallTotal.objects.all()))
