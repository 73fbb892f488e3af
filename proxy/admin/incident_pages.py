"""The admin's incident page for a leaked key: its changes and downloads since a time, and the quarantine of its
versions. Another page lifts the quarantine of one version."""

import dataclasses
import datetime

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from unfold.widgets import UnfoldAdminTextInputWidget

from keys.actions.grants import is_owner_allowed
from keys.formatting import csv_export
from keys.models import ApiKey, KeyEvent
from keys.pages.frame import actor_of, posted_data, render_page
from keys.pages.keys import can_see_keys, key_or_404
from keys.pages.progress import Progress
from keys.pages.submission import new_form_id
from keys.refusals import Refusal
from keys.rights import permissions
from proxy.ledger import compliance, incident
from proxy.ledger.incident import FILE_FIELDS, Change, QuarantineResult
from proxy.lists import exports
from proxy.models import ArtifactEvent, Registration
from proxy.upstream import registry

SHOWN = 500  # changes on the page, and as many downloads; the CSV file has all
NO_TEST_REGISTRY = "This is a test key, and there is no test registry (MLFLOW_TEST_URL)."
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
    confirmed = forms.BooleanField(required=False, widget=forms.HiddenInput)


class LiftForm(forms.Form):
    reason = forms.CharField(
        label="Why it is lifted",
        max_length=200,
        widget=UnfoldAdminTextInputWidget(attrs={"autofocus": True}),
        help_text="For the ledger, which keeps it together with your name.",
    )


def incident_of(request: HttpRequest, pk: int) -> HttpResponseBase:
    """What the key created, changed or downloaded since then: as a table, as a file; and the quarantine of versions."""
    if not can_see_keys(request) or not request.user.has_perm(permissions.VIEW_REGISTRATION):
        raise PermissionDenied
    key = key_or_404(pk)
    if request.method == "POST":
        return quarantine(request, key)
    start = timezone.now() - datetime.timedelta(days=1)
    form = SinceForm(request.GET if "since" in request.GET else {"since": f"{start:%Y-%m-%dT%H:%M}"})
    since = form.cleaned_data["since"] if form.is_valid() else None
    file_form = request.GET.get("format", "")
    if since and file_form in csv_export.TYPES:
        return as_file(key, since, file_form, is_of_files="files" in request.GET)
    touches = incident.blast_radius(since=since, key=key) if since else []
    return render_incident(request, key, form, touches, since)


def render_incident(
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
    downloads = [touch for touch in touches if touch.is_download]
    changes = [touch for touch in touches if not touch.is_download]
    events = incident.file_events(since=since, key=key) if since else ArtifactEvent.objects.none()
    return render_page(
        request,
        "admin/proxy/incident.html",
        title="Incident report",
        key=key,
        form=form,
        since=since,
        since_value=as_value(since),
        changes=changes[-SHOWN:][::-1],
        total=len(changes),
        downloads=downloads[-SHOWN:][::-1],
        total_downloads=len(downloads),
        files=events.order_by("-at", "-id")[:SHOWN],
        total_files=events.count(),
        versions=len(versions),
        still_works=key.state not in STOPPED,
        replaced_leak=replaced_leak(key),
        may_quarantine=may_quarantine(request, key),
        quarantine_form=quarantine_form or QuarantineForm(initial={"since": since}),
        marks=marks,
    )


def replaced_leak(key: ApiKey) -> KeyEvent | None:
    """The latest report that the key's secret was found in the open, if a rotation has replaced that secret since."""
    return None if key.leak else key.events.replaced_leaks().last()


def as_value(since: datetime.datetime | None) -> str:
    """The time as the form's field has it."""
    return f"{since:%Y-%m-%dT%H:%M}" if since else ""


def may_quarantine(request: HttpRequest, key: ApiKey) -> bool:
    is_allowed = is_owner_allowed(key.owner_id, actor_of(request).user)
    return is_allowed and request.user.has_perm(permissions.CHANGE_KEY)


def quarantine(request: HttpRequest, key: ApiKey) -> HttpResponse:
    """Mark every version that the key registered since then, after a confirmation that lists them. The report then
    shows the result for each."""
    if not may_quarantine(request, key):
        raise PermissionDenied
    form = QuarantineForm(request.POST)
    if not form.is_valid():
        return render_incident(request, key, SinceForm(request.POST), [], None, quarantine_form=form)
    since, marks = form.cleaned_data["since"], None
    if not form.cleaned_data["confirmed"]:
        return confirmation(request, key, form)
    upstream = registry.registry_of(key.namespace)
    if upstream is None:
        messages.error(request, NO_TEST_REGISTRY)
    else:
        try:
            marks = incident.quarantine(
                key=key,
                since=since,
                registry=upstream,
                reason=form.cleaned_data["reason"],
                by=actor_of(request).user,
                on_progress=Progress(request),
            )
        except (registry.RegistryError, Refusal) as error:
            messages.error(request, f"{error} Try again later; what is marked stays marked.")
    touches = incident.blast_radius(since=since, key=key)
    return render_incident(
        request, key, SinceForm(request.POST), touches, since, quarantine_form=form, marks=marks
    )


def confirmation(request: HttpRequest, key: ApiKey, form: QuarantineForm) -> HttpResponse:
    """The versions that would be marked, before anything is."""
    since = form.cleaned_data["since"]
    found = [found for found in incident.versions_of(key, since) if not found[1].is_deleted]
    states = compliance.findings([row for row, _ in found], {row.pk: version for row, version in found})
    marked = {pk for pk, finding in states.items() if finding.quarantine}
    return render_page(
        request,
        "admin/proxy/quarantine_confirm.html",
        title="Quarantine versions",
        key=key,
        form=form,
        since=since,
        since_value=as_value(since),
        versions=[(row, version) for row, version in found if row.pk not in marked],
        marked=len(marked),
        reason=form.cleaned_data["reason"] or f"since {timezone.now():%Y-%m-%d}",
        pending=Registration.objects.pending().by_key(key).between(since).count(),
        still_works=key.state not in STOPPED and replaced_leak(key) is None,
        progress_id=new_form_id(),
    )


@permission_required([permissions.CHANGE_KEY, permissions.VIEW_REGISTRATION], raise_exception=True)
def lift(request: HttpRequest, pk: int) -> HttpResponse:
    """Lift the quarantine of the version that this row of the ledger registered, with a reason."""
    row = get_object_or_404(Registration.objects.versions().with_people(), pk=pk)
    name = compliance.current_versions([row])[row.pk].name
    query = urlencode({"environment": row.environment, "organisation": row.organisation.slug, "name": name})
    address = f"{reverse('admin:proxy_registration_model')}?{query}"
    user = actor_of(request).user
    owners = incident.owners_of_version(row.namespace, name, row.version)
    if not all(is_owner_allowed(owner_id, user) for owner_id in owners):
        raise PermissionDenied
    finding = compliance.findings([row]).get(row.pk)
    if finding is None or not finding.quarantine:
        messages.info(request, f"Version {row.version} of {name} is not in quarantine.")
        return redirect(address)
    form = LiftForm(posted_data(request))
    if form.is_valid() and lift_version(request, form, row, name):
        messages.success(
            request, f"The quarantine of version {row.version} is lifted. Keys may change and copy it again."
        )
        return redirect(address)
    return render_page(
        request,
        "admin/proxy/quarantine_lift.html",
        model=Registration,
        title="Lift a quarantine",
        form=form,
        row=row,
        name=name,
        finding=finding,
        model_address=address,
    )


def lift_version(request: HttpRequest, form: LiftForm, row: Registration, name: str) -> bool:
    """Returns whether it is lifted; if not, the form says why."""
    upstream = registry.registry_of(row.namespace)
    if upstream is None:
        form.add_error(None, NO_TEST_REGISTRY)
        return False
    try:
        result = incident.lift(
            name=name,
            version=row.version,
            registry=upstream,
            reason=form.cleaned_data["reason"],
            by=actor_of(request).user,
        )
    except (registry.RegistryError, Refusal) as error:
        form.add_error(None, f"{error} Nothing was changed. Try again later.")
        return False
    if result.result == "failed":
        form.add_error(None, f"MLflow refused to remove the tag: {result.problem}")
    return result.result != "failed"


def as_file(key: ApiKey, since: datetime.datetime, form: str, *, is_of_files: bool) -> HttpResponseBase:
    if is_of_files:
        written = map(dataclasses.asdict, incident.file_changes(since=since, key=key))
        return exports.download(f"{key.public_id}-files", form, FILE_FIELDS, written)
    rows = (
        {
            **dataclasses.asdict(touch),
            "at": touch.at.replace(microsecond=0),
            "last": touch.last.replace(microsecond=0) if touch.last else None,
        }
        for touch in incident.blast_radius(since=since, key=key)
    )
    content = b"".join(csv_export.file_pieces(form, FIELDS, rows))
    response = HttpResponse(content, content_type=csv_export.TYPES[form])
    response["Content-Disposition"] = f'attachment; filename="{key.public_id}.{form}"'
    return response
