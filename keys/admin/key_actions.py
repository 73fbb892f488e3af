"""The admin's pages for actions on a key. Each calls one of `keys.actions`.

Every change is a POST on a page of its own. A secret is only in the response to the POST that created it: not in a
message, which would be stored in a cookie, and not behind a redirect.
"""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from keys import actions
from keys.actions import collecting
from keys.actions.rotation import is_only_for_holder
from keys.admin import key_usage, prepared_pages
from keys.admin.forms import ChangeForm, IssueForm, PauseForm, RevokeForm, RotateForm
from keys.alerts.key_messages import write_rotation_message
from keys.credentials import tokens
from keys.credentials.lookup import find_key
from keys.formatting.moments import format_time
from keys.formatting.sentences import to_sentence
from keys.lists.event_words import RIGHTS
from keys.lists.old_secret import read_old_secret_use
from keys.models import ApiKey, PreparedKey, User
from keys.pages.frame import actor_of, posted_data, redirect_see_other, render_page, row_number
from keys.pages.key_forms import ConfirmForm
from keys.pages.keys import can_see_keys, key_to_act_on, possible_actions
from keys.pages.submission import Submission, submit_form
from keys.rights import permissions

LIST = "admin:keys_apikey_changelist"

Page = Callable[[HttpRequest, int], HttpResponse]


def key_page(request: HttpRequest, template: str, **context: Any) -> HttpResponse:
    return render_page(request, f"admin/keys/apikey/{template}", **context)


def back(request: HttpRequest, key: ApiKey, text: str, level: int = messages.SUCCESS) -> HttpResponse:
    """Redirect to the key's page, which then shows `text`."""
    messages.add_message(request, level, text)
    return redirect("admin:keys_apikey_change", key.pk)


@permission_required(permissions.ADD_KEY, raise_exception=True)
def issue(request: HttpRequest) -> HttpResponse:
    """Issue a key: the form, and in the response to its POST the secret, which is shown only once, or the message for
    the holder who collects it."""
    form = IssueForm(posted_data(request), initial=initial_of(request))
    made, prepared = Submission(request), list[tuple[PreparedKey, str]]()

    def act() -> None:
        if form.is_collected:
            prepared.append(collecting.prepare(**form.rights(), actor=actor_of(request)))
        else:
            made.run(form, lambda: actions.issue(**form.rights(), actor=actor_of(request)))

    if not submit_form(form, act):
        return key_page(request, "issue.html", title="Issue a key", form=form)
    if prepared:
        return prepared_pages.show_message(request, *prepared[0])
    title = "Key issued" if made.token else "This key was already issued"
    return key_page(request, "issued.html", title=title, key=made.key, token=made.token)


def initial_of(request: HttpRequest) -> dict[str, Any]:
    """The owner, if a user's page links to the form, and how the key gets there: nobody collects a machine's."""
    number = row_number(request.GET.get("owner", ""))
    owner = User.objects.filter(pk=number).first() if number else None
    if owner is None:
        return {}
    return {"owner": owner.pk, "delivery": "show" if owner.is_machine else "collect"}


@permission_required(permissions.KEY_ACTIONS["rotate"], raise_exception=True)
def rotate(request: HttpRequest, pk: int) -> HttpResponse:
    """Rotate a key: the form, and in the response to its POST the new secret, which is shown only once."""
    key = key_to_act_on(request, pk)
    form, made = RotateForm(posted_data(request), key=key), Submission(request)
    was_leaked = key.leak is not None
    actor = actor_of(request)

    def act() -> tuple[ApiKey, str | None]:
        return actions.rotate(
            key=key,
            overlap=form.cleaned_data["overlap"],
            **form.expiry(),
            actor=actor,
        )

    if "rotate" not in possible_actions(key):
        return back(request, key, f"“{key.name}” is {key.state} and cannot be rotated.", messages.INFO)
    if not submit_form(form, lambda: made.run(form, act)):
        context = {"is_for_holder": is_only_for_holder(key, actor=actor)}
        return key_page(request, "rotate.html", title="Rotate a key", key=key, form=form, **context)
    if made.key and made.is_new and made.token is None:
        return message_to_holder(request, made.key)
    title = "New secret" if made.token else "This key was already rotated"
    context = {"is_rotated": True, "was_leaked": was_leaked}
    return key_page(request, "issued.html", title=title, key=made.key, token=made.token, **context)


def message_to_holder(request: HttpRequest, key: ApiKey) -> HttpResponse:
    """The response to the rotation of somebody's leaked key. Nobody sees this rotation's secret: the holder replaces it
    with one that only they see."""
    message = write_rotation_message(key, actor=actor_of(request))
    return key_page(
        request,
        "rotated.html",
        title="The leaked secret is replaced",
        key=key,
        message=message,
        person=key.owner,
    )


@permission_required(permissions.KEY_ACTIONS["end_old_secret"], raise_exception=True)
def end_old_secret(request: HttpRequest, pk: int) -> HttpResponse:
    """End a rotation's old secret before its overlap has passed. The page shows who still uses it."""
    key = key_to_act_on(request, pk)
    if "end_old_secret" not in possible_actions(key):
        return back(request, key, f"“{key.name}” has no old secret that still works.", messages.INFO)
    form = ConfirmForm(posted_data(request))
    if not submit_form(form, lambda: actions.end_old_secret(key=key, actor=actor_of(request))):
        context = {"use": read_old_secret_use(key)} if request.user.has_perm(permissions.VIEW_CALL) else {}
        return key_page(
            request, "end_old_secret.html", title="End the old secret", key=key, form=form, **context
        )
    return back(request, key, f"The old secret of “{key.name}” no longer works. The new one goes on.")


@permission_required(permissions.CHANGE_KEY, raise_exception=True)
def rights(request: HttpRequest, pk: int) -> HttpResponse:
    """Change what a key may do, its expiry, name and purpose."""
    key = key_to_act_on(request, pk)
    if key.revoked_at:
        return back(request, key, f"“{key.name}” is revoked and can no longer be changed.", messages.INFO)
    form = ChangeForm(posted_data(request), key=key)
    if not submit_form(form, lambda: actions.change(key=key, **form.changes(), actor=actor_of(request))):
        return key_page(request, "rights.html", title="Change rights", key=key, form=form)
    touched = [RIGHTS[name].lower() for name in form.changes()]
    if not touched:
        return back(request, key, "Nothing was changed.", messages.INFO)
    return back(request, key, f"Changed, and in effect from now on: {', '.join(touched)}.")


@permission_required(permissions.CHANGE_KEY, raise_exception=True)
def pause(request: HttpRequest, pk: int) -> HttpResponse:
    """Pause a key."""
    key = key_to_act_on(request, pk)
    if "pause" not in possible_actions(key):
        return back(request, key, f"“{key.name}” is already {key.state}.", messages.INFO)
    form = PauseForm(posted_data(request))
    if not submit_form(form, lambda: actions.pause(key=key, **form.cleaned_data, actor=actor_of(request))):
        return key_page(request, "pause.html", title="Pause a key", key=key, form=form)
    return back(request, key, f"“{key.name}” is paused. Calls with it are refused until it is resumed.")


@permission_required(permissions.CHANGE_KEY, raise_exception=True)
def resume(request: HttpRequest, pk: int) -> HttpResponse:
    """Resume a paused key."""
    key = key_to_act_on(request, pk)
    if key.paused_at and key.leak:
        leak = f"“{key.name}” was found {key.leak.describe_leak()}"
        return back(request, key, f"Not resumed: {leak}. Rotate it, or revoke it.", messages.ERROR)
    if "resume" not in possible_actions(key):
        return back(request, key, f"“{key.name}” is not paused.", messages.INFO)
    form = ConfirmForm(posted_data(request))
    if not submit_form(form, lambda: actions.resume(key=key, actor=actor_of(request))):
        return key_page(request, "resume.html", title="Resume a key", key=key, form=form)
    return back(request, key, f"“{key.name}” is resumed.")


@permission_required(permissions.CHANGE_KEY, raise_exception=True)
def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """Revoke a key, after a form that asks for the key's name."""
    key = key_to_act_on(request, pk)
    if key.revoked_at:
        return back(request, key, f"“{key.name}” was already revoked.", messages.INFO)
    form = RevokeForm(posted_data(request), key=key)

    def act() -> ApiKey:
        return actions.revoke(key=key, reason=form.cleaned_data["reason"], actor=actor_of(request))

    if not submit_form(form, act):
        context = {"use": key_usage.of_last_day(key)} if request.user.has_perm(permissions.VIEW_CALL) else {}
        return key_page(request, "revoke.html", title="Revoke a key", form=form, key=key, **context)
    return back(request, key, f"“{key.name}” is revoked. Calls with it are refused from now on.")


KEY_PAGES: dict[str, Page] = {
    "rights": rights,
    "pause": pause,
    "resume": resume,
    "rotate": rotate,
    "end_old_secret": end_old_secret,
    "revoke": revoke,
}


@sensitive_post_parameters("q")
def find(request: HttpRequest) -> HttpResponse:
    """The target of the list's search form. It takes POST, unlike Django's own: admins paste whole keys from logs or
    notebooks, and a GET would leave the secret in URLs, browser histories and access logs. Any other text is
    redirected to the list's own search."""
    if not can_see_keys(request):
        raise PermissionDenied
    if tokens.KEY_LIKE_PATTERN.search(request.POST.get("q", "")):
        return to_key_of_secret(request, request.POST)
    search = request.POST.copy()
    search.pop("csrfmiddlewaretoken", None)
    return redirect_see_other(f"{reverse(LIST)}?{search.urlencode()}" if search.get("q") else reverse(LIST))


@sensitive_variables("secret", "parameters")
def to_key_of_secret(request: HttpRequest, parameters: Any) -> HttpResponse:
    """Redirect to the page of the key whose current or previous secret is in the search. The key is looked up by the
    secret's digest, and the response does not repeat the secret."""
    try:
        secret = tokens.parse_first(parameters["q"])
    except tokens.InvalidToken as error:
        messages.warning(
            request, f"{to_sentence(error)} Search by its first or last four characters instead."
        )
        return redirect_see_other(reverse(LIST))
    match = find_key(secret)
    if match is None:
        messages.warning(request, "No such key: it was not issued here.")
        return redirect_see_other(reverse(LIST))
    key = match.key
    text = "This is the key whose secret you searched for."
    if match.is_previous:
        ends_at = format_time(key.previous_ends_at)
        text = f"The secret that you searched for is this key's old one, which ends {ends_at}."
    messages.info(request, f"{text} If the secret has leaked, rotate or revoke the key.")
    return redirect_see_other(reverse("admin:keys_apikey_change", args=[key.pk]))
