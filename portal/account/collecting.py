"""The page on which a holder collects a prepared key. The secret is made there, and shown once."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext
from django.views.decorators.debug import sensitive_variables

from keys.actions import collecting
from keys.models import ApiKey, PreparedKey
from keys.pages.frame import actor_of, posted_data
from keys.pages.key_forms import CollectForm
from keys.pages.submission import Submission, submit_form
from portal.account.frame import holder, page


@sensitive_variables("secret")
def link(request: HttpRequest, secret: str) -> HttpResponse:
    """What the message's link opens. It only leads to the key's page, whose URL carries no secret, and uses nothing up,
    because mail programs open links too. Without the holder's sign-in it opens nothing."""
    prepared = collecting.find_prepared(secret)
    reason = collecting.end_reason(prepared)
    if reason or prepared is None:
        answer = page(request, "collect_ended.html", status=404, words=collecting.END_REASONS[reason])
    else:
        answer = redirect("account-collect", prepared.public_id)
    answer["Referrer-Policy"] = "no-referrer"
    return answer


@login_required
def collect(request: HttpRequest, public_id: str) -> HttpResponse:
    """Collect a key: its rights, and in the response to the POST the secret, which is shown only once."""
    prepared = get_object_or_404(
        PreparedKey.objects.with_people(), public_id=public_id, owner=holder(request)
    )
    form, made = CollectForm(posted_data(request)), Submission(request)

    def act() -> tuple[ApiKey, str]:
        return collecting.collect(prepared=prepared, actor=actor_of(request))

    if submit_form(form, lambda: made.run(form, act)):
        title = gettext("Your key") if made.token else gettext("This key was collected already")
        return page(request, "secret.html", title=title, key=made.key, token=made.token)
    if not form.is_bound and (reason := collecting.end_reason(prepared)):
        return page(request, "collect_ended.html", words=collecting.END_REASONS[reason], key=prepared.key)
    rights = collecting.stored_rights(prepared)
    return page(request, "collect.html", prepared=prepared, rights=rights, form=form)
