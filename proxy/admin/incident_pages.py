"""The admin's incident page for a leaked key: its changes since a time, and the quarantine of its versions."""

import csv
import dataclasses
import datetime
import io

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from unfold.widgets import UnfoldAdminTextInputWidget

from keys.actions.grants import is_owner_allowed
from keys.formatting.csv_export import cell
from keys.models import ApiKey
from keys.pages.frame import actor_of, render_page
from keys.pages.keys import can_see_keys, key_or_404
from keys.refusals import Refusal
from keys.rights import permissions
from proxy.ledger import incident
from proxy.ledger.incident import Change, QuarantineResult
from proxy.upstream import registry

SHOWN = 500  # changes on the page; the CSV file has all
FIELDS = [field.name for field in dataclasses.fields(Change)]
STOPPED = (ApiKey.State.REVOKED, ApiKey.State.PAUSED, ApiKey.State.EXPIRED)
INPUT = {"type": "datetime-local", "class": UnfoldAdminTextInputWidget().attrs["class"]}


class SinceForm(forms.Form):
    since = forms.DateTimeField(
        label="Since (UTC)",
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
        widget=forms.DateTimeInput(attrs=INPUT, format="%Y-%m-%dT%H:%M"),
        help_text="The time from which somebody else may have had the key.",
    )


class QuarantineForm(SinceForm):
    reason = forms.CharField(
        max_length=200,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="The tag's value at MLflow, for all who see the version. Empty: since today's date.",
    )


def incident_of(request: HttpRequest, pk: int) -> HttpResponse:
    """What the key created or changed since then: as a table, as a file; and the quarantine of versions."""
    if not can_see_keys(request) or not request.user.has_perm(permissions.VIEW_REGISTRATION):
        raise PermissionDenied
    key = key_or_404(pk)
    if request.method == "POST":
        return quarantine(request, key)
    start = timezone.now() - datetime.timedelta(days=1)
    form = SinceForm(request.GET if "since" in request.GET else {"since": f"{start:%Y-%m-%dT%H:%M}"})
    since = form.cleaned_data["since"] if form.is_valid() else None
    touches = incident.blast_radius(since=since, key=key) if since else []
    if since and request.GET.get("format") == "csv":
        return as_file(key, touches)
    return shown(request, key, form, touches, since)


def shown(
    request: HttpRequest,
    key: ApiKey,
    form: SinceForm,
    touches: list[Change],
    since: datetime.datetime | None,
    *,
    quarantine_form: QuarantineForm | None = None,
    marks: list[QuarantineResult] | None = None,
) -> HttpResponse:
    versions = [touch for touch in touches if touch.operation == "model-versions.create"]
    return render_page(
        request,
        "admin/proxy/incident.html",
        title="Incident report",
        key=key,
        form=form,
        since=since,
        since_value=f"{since:%Y-%m-%dT%H:%M}" if since else "",
        touches=touches[-SHOWN:][::-1],
        total=len(touches),
        versions=len(versions),
        still_works=key.state not in STOPPED,
        may_quarantine=may_quarantine(request, key),
        quarantine_form=quarantine_form or QuarantineForm(initial={"since": since}),
        marks=marks,
    )


def may_quarantine(request: HttpRequest, key: ApiKey) -> bool:
    is_allowed = is_owner_allowed(key.owner_id, actor_of(request).user)
    return is_allowed and request.user.has_perm(permissions.CHANGE_KEY)


def quarantine(request: HttpRequest, key: ApiKey) -> HttpResponse:
    """Mark every version that the key registered since then; the page then shows the result for each."""
    if not may_quarantine(request, key):
        raise PermissionDenied
    form = QuarantineForm(request.POST)
    if not form.is_valid():
        return shown(request, key, SinceForm(request.POST), [], None, quarantine_form=form)
    since, marks = form.cleaned_data["since"], None
    upstream = registry.registries().get(key.environment)
    if upstream is None:
        messages.error(request, "This is a test key, and there is no test registry (MLFLOW_TEST_URL).")
    else:
        try:
            marks = incident.quarantine(
                key=key,
                since=since,
                registry=upstream,
                reason=form.cleaned_data["reason"],
                by=actor_of(request).user,
            )
        except (registry.RegistryError, Refusal) as error:
            messages.error(request, f"{error} Try again later; what is marked stays marked.")
    touches = incident.blast_radius(since=since, key=key)
    return shown(request, key, SinceForm(request.POST), touches, since, quarantine_form=form, marks=marks)


def as_file(key: ApiKey, touches: list[Change]) -> HttpResponse:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(FIELDS)
    for touch in touches:
        row = {**dataclasses.asdict(touch), "at": touch.at.isoformat(timespec="seconds")}
        writer.writerow([cell(row[name]) for name in FIELDS])
    response = HttpResponse(file.getvalue(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{key.public_id}.csv"'
    response["Cache-Control"] = "no-store"
    return response
