"""The command palette: pages, keys, users and calls by what is typed, for those who may see them."""

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
DEEDS = {
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
    """What is found, as a fragment. By POST, because whole keys are pasted here; the answer repeats none."""
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
    """Where the usage log shows the call of a request id. Nothing is looked up for it here."""
    if REQUEST_ID.fullmatch(text) and request.user.has_perm(permissions.VIEW_CALL):
        link = f"{reverse('admin:proxy_call_changelist')}?{urlencode({'request_id': text})}"
        yield Hit(title=text, kind="Call, in the usage log", link=link)


def of_pages(request: HttpRequest, text: str) -> Iterator[Hit]:
    """The sidebar's own entries, and what there is to do."""
    for group in admin.site.each_context(request)["sidebar_navigation"]:
        for item in group["items"]:
            if item["has_permission"] and text in item["title"].lower():
                yield Hit(title=item["title"], kind="Page", link=str(item["link"]))
    deeds = {"Issue a key": (permissions.ADD_KEY, "admin:keys_apikey_add")}
    deeds["Add a user"] = (permissions.ADD_USER, "admin:keys_user_add")
    deeds["Hand over what a user owns"] = (permissions.CHANGE_OWNER, "admin:proxy_owner_hand_over")
    for title, (permission, page) in deeds.items():
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
    """The key whose secret this is, and what this person may do with it."""
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
            yield Hit(title=f"{DEEDS[name]}: {key.name}", kind="Do", link=link)


def of_key(key: ApiKey) -> Hit:
    return Hit(
        title=f"{key.name} ({key.masked})",
        kind=f"Key of {key.owner.username}, {key.state}",
        link=reverse("admin:keys_apikey_change", args=[key.pk]),
    )
