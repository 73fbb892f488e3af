"""The admin's pages about requests of holders: list, approve with one click, decline with a reason."""

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST, require_safe
from unfold.widgets import UnfoldAdminTextInputWidget

from keys.actions import ActionError, requests
from keys.actions.grants import is_owner_allowed
from keys.admin.prepared_pages import show_message
from keys.alerts.key_messages import notify_holder
from keys.formatting.sentences import to_sentence
from keys.models import KeyRequest, User
from keys.pages.frame import actor_of, posted_data, render_page
from keys.pages.keys import can_see_keys
from keys.pages.submission import submit_form
from keys.rights import permissions

MOST = 200  # of the list
LIST = "admin:keys_apikey_requests"


class DeclineForm(forms.Form):
    reason = forms.CharField(
        label="Reason to decline",
        max_length=500,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="The holder reads it.",
    )


def may_decide(user: object, key_request: KeyRequest) -> bool:
    """Whether the user may do what the request asks for."""
    return (
        isinstance(user, User)
        and user.has_perms(permissions.REQUESTS[key_request.kind])
        and is_owner_allowed(key_request.user_id, user)
    )


def request_to_decide(request: HttpRequest, pk: int) -> KeyRequest:
    """Raises 404 or PermissionDenied."""
    found = get_object_or_404(KeyRequest.objects.with_people(), pk=pk)
    if not may_decide(request.user, found):
        raise PermissionDenied
    return found


@require_safe
def requests_list(request: HttpRequest) -> HttpResponse:
    """The open requests, and the latest decisions."""
    if not can_see_keys(request):
        raise PermissionDenied
    rows = list(KeyRequest.objects.open().with_people()[:MOST])
    decided = (
        KeyRequest.objects.exclude(state=KeyRequest.State.OPEN).with_people().order_by("-decided_at")[:20]
    )
    deciding = [(row, may_decide(request.user, row)) for row in rows]
    title = "Requests of key holders"
    return render_page(
        request, "admin/keys/apikey/requests.html", title=title, rows=deciding, decided=decided
    )


def decide(request: HttpRequest, pk: int) -> HttpResponse:
    """One request: approve it, or decline it with a reason, which this page's POST does."""
    found = request_to_decide(request, pk)
    form = DeclineForm(posted_data(request))

    def act() -> None:
        reason = form.cleaned_data["reason"]
        notify_holder(requests.decline(request=found, reason=reason, actor=actor_of(request)))

    if not submit_form(form, act):
        title = "Request of a key holder"
        return render_page(request, "admin/keys/apikey/request.html", title=title, form=form, found=found)
    messages.success(request, f"Declined: {found.words}. {found.user.username} is told the reason.")
    return redirect(LIST)


@require_POST
def approve(request: HttpRequest, pk: int) -> HttpResponse:
    """Do what is requested. For a new key, the response has the message with which its holder collects it."""
    found = request_to_decide(request, pk)
    try:
        done, made = requests.approve(request=found, actor=actor_of(request))
    except ActionError as error:
        messages.error(request, to_sentence(error))
        return redirect("admin:keys_apikey_request", found.pk)
    if made:
        return show_message(request, *made)
    notify_holder(done)
    messages.success(request, f"Approved: {found.words} of {found.user.username}. It is in effect.")
    return redirect(LIST)
