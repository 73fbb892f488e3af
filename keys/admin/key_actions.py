"""The admin's pages that do something to a key. Each calls one of `keys.actions`.

Every change is a POST on a page of its own. A secret is in the answer to the POST that made it and nowhere
else: not in a message, which would keep it in a cookie, and not behind a redirect.
"""

from collections.abc import Callable
from typing import Any, cast

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from keys import actions
from keys.actions.actor import Actor, Via
from keys.admin import key_usage
from keys.admin.forms import ChangeForm, IssueForm, PauseForm, ResumeForm, RevokeForm, RotateForm, sentence
from keys.credentials import tokens
from keys.credentials.addresses import client_address
from keys.credentials.lookup import find_key
from keys.formatting.moments import moment
from keys.lists.event_words import RIGHTS
from keys.models import ApiKey, User
from keys.rights import permissions

REMEMBERED_FORMS = 100
SESSION_NAME = "issued_forms"
LIST = "admin:keys_apikey_changelist"

Page = Callable[[HttpRequest, int], HttpResponse]


def possible(key: ApiKey) -> set[str]:
    """The pages that make sense for the key as it is now."""
    if key.revoked_at:
        return set()
    pages = {"rights", "revoke"}
    if key.paused_at:
        pages.add("resume")
    if key.state != ApiKey.State.EXPIRED:
        pages.add("rotate")
        pages.add("resume" if key.paused_at else "pause")
    return pages


def offered(request: HttpRequest, key: ApiKey) -> list[str]:
    """The pages that make sense for the key and that this person may use, in the order of the buttons."""
    now = possible(key)
    return [
        name
        for name, needed in permissions.KEY_ACTIONS.items()
        if name in now and request.user.has_perms(needed)
    ]


def may_see(request: HttpRequest) -> bool:
    return any(request.user.has_perm(name) for name in permissions.SEE_KEYS)


def page(
    request: HttpRequest, template: str, *, model: type[models.Model] = ApiKey, **context: Any
) -> HttpResponse:
    """One of the pages beside Django's own, in their frame. Never stored by browsers or proxies."""
    frame = {**admin.site.each_context(request), "opts": model._meta, "public_url": settings.PUBLIC_URL}
    response = render(request, template, {**frame, **context})
    response["Cache-Control"] = "no-store"
    return response


def key_page(request: HttpRequest, template: str, **context: Any) -> HttpResponse:
    return page(request, f"admin/keys/apikey/{template}", **context)


def key_of(pk: int) -> ApiKey:
    return get_object_or_404(ApiKey.objects.with_owner(), pk=pk)


def back(request: HttpRequest, key: ApiKey, text: str, level: int = messages.SUCCESS) -> HttpResponse:
    """To the key's page, which then says `text`."""
    messages.add_message(request, level, text)
    return redirect("admin:keys_apikey_change", key.pk)


def actor_of(request: HttpRequest) -> Actor:
    user = request.user if isinstance(request.user, User) else None
    address = client_address(request.META, trusted_proxies=settings.TRUSTED_PROXIES)
    return Actor(user=user, address=address or None, via=Via.PAGE)


def is_done(form: forms.Form, act: Callable[[], Any]) -> bool:
    """Whether the form was right and `act` did it; if it would not, the form says why."""
    if not form.is_bound or not form.is_valid():
        return False
    try:
        act()
    except actions.ActionError as error:
        form.add_error(None, sentence(error))
        return False
    return True


def from_address(request: HttpRequest, name: str, default: str = "") -> str:
    """What the address's query says, without NUL, which PostgreSQL does not take."""
    return request.GET.get(name, default).replace("\0", "")


def sent(request: HttpRequest) -> Any:
    return request.POST if request.method == "POST" else None


@permission_required(permissions.ADD_KEY, raise_exception=True)
def issue(request: HttpRequest) -> HttpResponse:
    """Issue a key: the form, and in the answer to its POST the secret, this once."""
    form = IssueForm(sent(request), initial={"owner": request.GET.get("owner")})  # a user's page links here
    made = Once(request)
    if not is_done(
        form, lambda: made.make(form, lambda: actions.issue(**form.rights(), actor=actor_of(request)))
    ):
        return key_page(request, "issue.html", title="Issue a key", form=form)
    title = "Key issued" if made.token else "This key was issued already"
    return key_page(request, "issued.html", title=title, key=made.key, token=made.token)


@permission_required(permissions.KEY_ACTIONS["rotate"], raise_exception=True)
def rotate(request: HttpRequest, pk: int) -> HttpResponse:
    """Give a key a new secret: the form, and in the answer to its POST the secret, this once."""
    key = key_of(pk)
    form, made = RotateForm(sent(request), key=key), Once(request)

    def act() -> tuple[ApiKey, str]:
        return actions.rotate(key=key, overlap=form.cleaned_data["overlap"], actor=actor_of(request))

    if "rotate" not in possible(key):
        return back(request, key, f"“{key.name}” is {key.state}: it gets no new secret.", messages.INFO)
    if not is_done(form, lambda: made.make(form, act)):
        return key_page(request, "rotate.html", title="Rotate a key", key=key, form=form)
    title = "New secret" if made.token else "This key was rotated already"
    return key_page(request, "issued.html", title=title, key=made.key, token=made.token, is_rotated=True)


@permission_required(permissions.CHANGE_KEY, raise_exception=True)
def rights(request: HttpRequest, pk: int) -> HttpResponse:
    """Change what a key may do, its expiry, name and purpose."""
    key = key_of(pk)
    if key.revoked_at:
        return back(request, key, f"“{key.name}” was revoked: nothing changes it any more.", messages.INFO)
    form = ChangeForm(sent(request), key=key)
    if not is_done(form, lambda: actions.change(key=key, **form.changes(), actor=actor_of(request))):
        return key_page(request, "rights.html", title="Change rights", key=key, form=form)
    touched = [RIGHTS[name].lower() for name in form.changes()]
    if not touched:
        return back(request, key, "Nothing was changed.", messages.INFO)
    return back(request, key, f"Changed, and in effect from now on: {', '.join(touched)}.")


@permission_required(permissions.CHANGE_KEY, raise_exception=True)
def pause(request: HttpRequest, pk: int) -> HttpResponse:
    """Stop a key for a while."""
    key = key_of(pk)
    if "pause" not in possible(key):
        return back(request, key, f"“{key.name}” is {key.state} already.", messages.INFO)
    form = PauseForm(sent(request))
    if not is_done(form, lambda: actions.pause(key=key, **form.cleaned_data, actor=actor_of(request))):
        return key_page(request, "pause.html", title="Pause a key", key=key, form=form)
    return back(request, key, f"“{key.name}” is paused. Calls with it are refused until it is resumed.")


@permission_required(permissions.CHANGE_KEY, raise_exception=True)
def resume(request: HttpRequest, pk: int) -> HttpResponse:
    """Let a paused key work again."""
    key = key_of(pk)
    if "resume" not in possible(key):
        return back(request, key, f"“{key.name}” is not paused.", messages.INFO)
    form = ResumeForm(sent(request))
    if not is_done(form, lambda: actions.resume(key=key, actor=actor_of(request))):
        return key_page(request, "resume.html", title="Resume a key", key=key, form=form)
    return back(request, key, f"“{key.name}” is resumed.")


@permission_required(permissions.CHANGE_KEY, raise_exception=True)
def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask whether to revoke the key; do it when the form comes back with the key's name."""
    key = key_of(pk)
    if key.revoked_at:
        return back(request, key, f"“{key.name}” was revoked already.", messages.INFO)
    form = RevokeForm(sent(request), key=key)

    def act() -> ApiKey:
        return actions.revoke(key=key, reason=form.cleaned_data["reason"], actor=actor_of(request))

    if not is_done(form, act):
        context = {"use": key_usage.of_last_day(key)} if request.user.has_perm(permissions.VIEW_CALL) else {}
        return key_page(request, "revoke.html", title="Revoke a key", form=form, key=key, **context)
    return back(request, key, f"“{key.name}” is revoked. Calls with it are refused from now on.")


KEY_PAGES: dict[str, Page] = {
    "rights": rights,
    "pause": pause,
    "resume": resume,
    "rotate": rotate,
    "revoke": revoke,
}


class Once:
    """The key that a form makes or rotates, with its new secret; without it if the form was sent before.

    The session remembers which forms were used. It is read and written while the user's row is locked: the
    second of two clicks waits for the first. The secret stays a Token, whose `repr` hides it from exception
    pages.
    """

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.key: ApiKey | None = None
        self.token: tokens.Token | None = None

    @transaction.atomic
    def make(self, form: forms.Form, act: Callable[[], tuple[ApiKey, str]]) -> None:
        User.objects.select_for_update().get(pk=cast(User, self.request.user).pk)
        session = type(self.request.session)(self.request.session.session_key)
        used: dict[str, int] = session.get(SESSION_NAME, {})
        form_id = form.cleaned_data["form_id"]
        if form_id in used:
            self.key = key_of(used[form_id])
            return
        self.key, secret = act()
        self.token = tokens.parse(secret)
        session[SESSION_NAME] = dict([*used.items(), (form_id, self.key.pk)][-REMEMBERED_FORMS:])
        session.save()


@sensitive_post_parameters("q")
def find(request: HttpRequest) -> HttpResponse:
    """Where the list's search form is sent. By POST, unlike Django's own: admins paste whole keys here, found
    in a log or a notebook, and a GET would leave the secret in addresses, browser histories and access logs.
    Any other text goes on to the list's own search, in its address as ever."""
    if not may_see(request):
        raise PermissionDenied
    if tokens.KEY_LIKE_PATTERN.search(request.POST.get("q", "")):
        return to_key_of_secret(request, request.POST)
    search = request.POST.copy()
    search.pop("csrfmiddlewaretoken", None)
    return see_other(f"{reverse(LIST)}?{search.urlencode()}" if search.get("q") else reverse(LIST))


@sensitive_variables("secret", "parameters")
def to_key_of_secret(request: HttpRequest, parameters: Any) -> HttpResponse:
    """To the page of the key whose secret, present or previous, is in the search. It is looked up by its
    digest and not repeated in the answer."""
    try:
        secret = tokens.parse_first(parameters["q"])
    except tokens.InvalidToken as error:
        messages.warning(request, f"{sentence(error)} Search by its first or last four characters instead.")
        return see_other(reverse(LIST))
    match = find_key(secret)
    if match is None:
        messages.warning(request, "No such key: it was not issued here.")
        return see_other(reverse(LIST))
    key = match.key
    text = "This is the key whose secret you searched for."
    if match.is_previous:
        text = f"The secret that you searched for is this key's old one, which ends {moment(key.previous_ends_at)}."
    messages.info(request, f"{text} If it was found where it should not be, rotate or revoke the key.")
    return see_other(reverse("admin:keys_apikey_change", args=[key.pk]))


def see_other(address: str) -> HttpResponse:
    response = redirect(address)
    response.status_code = 303
    response["Referrer-Policy"] = "no-referrer"
    response["Cache-Control"] = "no-store"
    return response
