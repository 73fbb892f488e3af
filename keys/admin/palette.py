"""The command palette: searches the pages, keys, users and calls that the user may see."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_POST

from keys.credentials import tokens
from keys.credentials.lookup import find_key
from keys.models import ApiKey, User, users_matching
from keys.pages.keys import can_see_keys, offered_actions
from keys.rights import permissions

MOST = 8  # of each sort
REQUEST_ID = re.compile(r"req_[0-9a-f]{32}")
ACTION_LABELS = {
    "rights": "Change rights",
    "pause": "Pause",
    "resume": "Resume",
    "rotate": "Rotate",
    "revoke": "Revoke",
}


@dataclass(frozen=True, kw_only=True)
class Hit:
    title: str
    kind: str
    link: str


@require_POST
@sensitive_post_parameters("text")
@sensitive_variables("text")
def palette(request: HttpRequest) -> HttpResponse:
    """The hits as an HTML fragment. By POST, because people paste whole keys here; the response repeats none."""
    text = request.POST.get("text", "").replace("\0", "").strip()
    if tokens.KEY_LIKE_PATTERN.search(text):
        hits = [*of_secret(request, text)]
    else:
        hits = [
            *of_call(request, text),
            *of_pages(request, text.lower()),
            *(keys_and_users(request, text) if text else ()),
        ]
    response = render(request, "admin/palette.html", {"hits": hits, "text": bool(text)})
    response["Cache-Control"] = "no-store"
    return response


def of_call(request: HttpRequest, text: str) -> Iterator[Hit]:
    """A link to the usage log, filtered by the request id. The call itself is not looked up."""
    if REQUEST_ID.fullmatch(text) and request.user.has_perm(permissions.VIEW_CALL):
        link = f"{reverse('admin:proxy_call_changelist')}?{urlencode({'request_id': text})}"
        yield Hit(title=text, kind="Call, in the usage log", link=link)


def of_pages(request: HttpRequest, text: str) -> Iterator[Hit]:
    """The sidebar's entries, and the actions that create or change something."""
    for group in admin.site.each_context(request)["sidebar_navigation"]:
        for item in group["items"]:
            if item["has_permission"] and text in item["title"].lower():
                yield Hit(title=item["title"], kind="Page", link=str(item["link"]))
    actions = {"Issue a key": (permissions.ADD_KEY, "admin:keys_apikey_add")}
    actions["Add a user"] = (permissions.ADD_USER, "admin:keys_user_add")
    actions["Hand over what a user owns"] = (permissions.CHANGE_OWNER, "admin:proxy_owner_hand_over")
    for title, (permission, page) in actions.items():
        if text in title.lower() and request.user.has_perm(permission):
            yield Hit(title=title, kind="Do", link=reverse(page))


def keys_and_users(request: HttpRequest, text: str) -> Iterator[Hit]:
    if can_see_keys(request):
        for key in ApiKey.objects.matching(text).with_owner()[:MOST]:
            yield of_key(key)
    if any(request.user.has_perm(name) for name in permissions.SEE_USERS):
        for user in User.objects.filter(users_matching(text)).order_by("username")[:MOST]:
            kind = "User" if user.is_active else "User, deactivated"
            yield Hit(title=user.username, kind=kind, link=reverse("admin:keys_user_change", args=[user.pk]))


@sensitive_variables("text", "secret")
def of_secret(request: HttpRequest, text: str) -> Iterator[Hit]:
    """The key with this secret, and the actions that the user may perform on it."""
    if not can_see_keys(request):
        return
    try:
        secret = tokens.parse_first(text)
    except tokens.InvalidToken:
        return
    if match := find_key(secret):
        key = match.key
        yield of_key(key)
        for name in offered_actions(request, key):
            link = reverse(f"admin:keys_apikey_{name}", args=[key.pk])
            yield Hit(title=f"{ACTION_LABELS[name]}: {key.name}", kind="Do", link=link)


def of_key(key: ApiKey) -> Hit:
    return Hit(
        title=f"{key.name} ({key.masked})",
        kind=f"Key of {key.owner.username}, {key.state}",
        link=reverse("admin:keys_apikey_change", args=[key.pk]),
    )
