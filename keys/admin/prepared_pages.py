"""The admin's pages about keys that wait to be collected by their holders."""

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_POST, require_safe

from keys.actions import ActionError, collecting
from keys.actions.grants import is_owner_allowed
from keys.alerts.key_messages import write_message
from keys.formatting.sentences import to_sentence
from keys.models import PreparedKey, User
from keys.pages.frame import actor_of, posted_data, render_page
from keys.pages.key_forms import ConfirmForm
from keys.pages.keys import can_see_keys
from keys.pages.submission import submit_form
from keys.rights import permissions

MOST = 200  # of the list
LIST = "admin:keys_apikey_prepared"


@sensitive_variables("secret", "message")
def show_message(request: HttpRequest, prepared: PreparedKey, secret: str) -> HttpResponse:
    """The response to the POST that prepared a key: the message for its holder, with the link that is shown once."""
    message = write_message(prepared, secret, actor=actor_of(request))
    return render_page(
        request,
        "admin/keys/apikey/prepared.html",
        title="Ready to be collected",
        prepared=prepared,
        message=message,
        person=prepared.owner,
    )


@require_safe
def waiting(request: HttpRequest) -> HttpResponse:
    """The keys that wait to be collected."""
    if not can_see_keys(request):
        raise PermissionDenied
    rows = PreparedKey.objects.waiting().with_people()[:MOST]
    title = "Keys waiting to be collected"
    return render_page(request, "admin/keys/apikey/waiting.html", title=title, rows=rows)


@permission_required(permissions.ADD_KEY, raise_exception=True)
@require_POST
@sensitive_variables("secret")
def renew(request: HttpRequest, pk: int) -> HttpResponse:
    """Write the message once more, with a new link: the one before was shown only once, and stops working."""
    prepared = get_object_or_404(PreparedKey.objects.with_people(), pk=pk)
    if not isinstance(request.user, User) or not is_owner_allowed(prepared.owner_id, request.user):
        raise PermissionDenied
    if not PreparedKey.objects.waiting().filter(pk=pk).exists():
        messages.info(request, f"“{prepared.name}” no longer waits, or has a newer message.")
        return redirect(LIST)
    try:
        prepared, secret = collecting.renew(prepared=prepared, actor=actor_of(request))
    except ActionError as error:
        messages.error(request, to_sentence(error))
        return redirect(LIST)
    return show_message(request, prepared, secret)


@permission_required(permissions.ADD_KEY, raise_exception=True)
def withdraw(request: HttpRequest, pk: int) -> HttpResponse:
    """Withdraw a prepared key before it is collected."""
    prepared = get_object_or_404(PreparedKey.objects.with_people(), pk=pk)
    if not isinstance(request.user, User) or not is_owner_allowed(prepared.owner_id, request.user):
        raise PermissionDenied
    form = ConfirmForm(posted_data(request))
    if not submit_form(form, lambda: collecting.withdraw(prepared=prepared, actor=actor_of(request))):
        title = "Withdraw a prepared key"
        return render_page(
            request, "admin/keys/apikey/withdraw_prepared.html", title=title, form=form, prepared=prepared
        )
    messages.success(request, f"“{prepared.name}” is withdrawn. Its link no longer works.")
    return redirect(LIST)
