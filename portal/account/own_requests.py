"""What holders request of the administrators: a new key, a later expiry, or more rights."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext
from django.views.decorators.http import require_POST

from keys.actions import ActionError, requests
from keys.alerts.key_messages import notify_administrators
from keys.models import ApiKey, KeyRequest
from keys.pages.frame import actor_of, posted_data
from keys.pages.submission import submit_form
from portal.account.forms import RequestForm
from portal.account.frame import holder, page
from portal.account.own_keys import own_key

HEADINGS = {"new": "Request a key", "renewal": "Request a later expiry", "scope": "Request more rights"}


@login_required
def request_new(request: HttpRequest) -> HttpResponse:
    """Request a new key, which the holder collects after the approval."""
    return ask(request, KeyRequest.Kind.NEW, None)


@login_required
def request_change(request: HttpRequest, public_id: str, kind: str) -> HttpResponse:
    """Request a later expiry of one's own key, or more rights for it."""
    return ask(request, kind, own_key(request, public_id))


@login_required
@require_POST
def withdraw_request(request: HttpRequest, request_id: str) -> HttpResponse:
    """Withdraw one's own request that nobody has decided yet."""
    own = holder(request).key_requests.select_related("key")
    key_request = get_object_or_404(own, public_id=request_id.replace("\0", ""))
    try:
        requests.withdraw(request=key_request, actor=actor_of(request))
        messages.success(request, gettext("Your request was withdrawn."))
    except ActionError as error:
        messages.error(request, gettext("Nothing was changed: %(error)s.") % {"error": error})
    return redirect("account-key", key_request.key.public_id) if key_request.key else redirect("account")


def ask(request: HttpRequest, kind: str, key: ApiKey | None) -> HttpResponse:
    form = RequestForm(posted_data(request), kind=kind, user=holder(request))
    made: list[KeyRequest] = []

    def act() -> None:
        made.append(requests.request(kind=kind, key=key, **form.requested(), actor=actor_of(request)))

    if not submit_form(form, act):
        waiting = requests.open_request(holder(request), kind, key)
        return page(
            request, "request.html", form=form, key=key, waiting=waiting, heading=gettext(HEADINGS[kind])
        )
    notify_administrators(made[0])
    text = gettext("Your request was sent to the administrators. This page will show their answer.")
    messages.success(request, text)
    return redirect("account-key", key.public_id) if key else redirect("account")
