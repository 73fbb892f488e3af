"""The command palette: searches the pages, keys, users, models and calls that the user may see.

Each search reads an index, or the small tables of keys and users: none reads the log or the ledger as a whole."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_POST

from keys.credentials import tokens
from keys.credentials.lookup import find_key
from keys.formatting.moments import format_time
from keys.models import ApiKey, User, users_matching
from keys.models.organisations import SHARED
from keys.pages.keys import can_see_keys, offered_actions
from keys.rights import permissions
from proxy.models import Owner, Registration
from proxy.models.calls import Call

MOST = 8  # of each sort
REQUEST_ID = re.compile(r"req_[0-9a-f]{32}")
REPLACED = "; you searched for an old secret of it, which a rotation replaced"
ACTION_LABELS = {
    "rights": "Change rights",
    "pause": "Pause",
    "resume": "Resume",
    "rotate": "Rotate",
    "end_old_secret": "End the old secret",
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
            *of_request(request, text),
            *of_pages(request, text.lower()),
            *(keys_and_users(request, text) if text else ()),
            *(of_models(request, text) if text else ()),
        ]
    return render(request, "palette_hits.html", {"hits": hits, "text": bool(text)})


def of_request(request: HttpRequest, text: str) -> Iterator[Hit]:
    """The call with this request id, in the usage log; the registration that it made, in the ledger."""
    if not REQUEST_ID.fullmatch(text):
        return
    query = urlencode({"request_id": text})
    if request.user.has_perm(permissions.VIEW_CALL):
        call = Call.objects.with_caller().with_request_id(text)
        kind = describe_call(call) if call else "Not in the usage log: search there"
        yield Hit(title=text, kind=kind, link=f"{reverse('admin:proxy_call_changelist')}?{query}")
    if request.user.has_perm(permissions.VIEW_REGISTRATION):
        for row in Registration.objects.filter(request_id=text):
            link = reverse("admin:proxy_registration_change", args=[row.pk])
            yield Hit(
                title=row.object_name or text, kind=f"Registration: {row.operation}, {row.outcome}", link=link
            )


def describe_call(call: Call) -> str:
    """ "Call of dora, 2026-11-23 16:40 UTC: runs.create, 403 scope"."""
    result = f"{call.status} {call.reason}".rstrip()
    return f"Call of {call.user.username}, {format_time(call.at)}: {call.operation or call.path}, {result}"


def of_pages(request: HttpRequest, text: str) -> Iterator[Hit]:
    """The sidebar's entries, and the actions that create or change something."""
    for group in admin.site.each_context(request)["sidebar_navigation"]:
        for item in group["items"]:
            if item["has_permission"] and text in item["title"].lower():
                yield Hit(title=item["title"], kind="Page", link=str(item["link"]))
    actions = {"Issue a key": (permissions.ADD_KEY, "admin:keys_apikey_add")}
    actions["Add a user"] = (permissions.ADD_USER, "admin:keys_user_add")
    actions["Hand over what a user owns"] = (permissions.CHANGE_OWNER, "admin:proxy_owner_hand_over")
    actions["Verify the ledger"] = (permissions.VIEW_REGISTRATION, "verify-ledger")
    for title, (permission, page) in actions.items():
        if text in title.lower() and request.user.has_perm(permission):
            yield Hit(title=title, kind="Do", link=reverse(page))


def keys_and_users(request: HttpRequest, text: str) -> Iterator[Hit]:
    if can_see_keys(request):
        for key in ApiKey.objects.matching(text).with_owner()[:MOST]:
            yield of_key(key, is_old=key.matches_old_secret(text))
    if any(request.user.has_perm(name) for name in permissions.SEE_USERS):
        for user in User.objects.filter(users_matching(text)).order_by("username")[:MOST]:
            kind = "User" if user.is_active else "User, deactivated"
            yield Hit(title=user.username, kind=kind, link=reverse("admin:keys_user_change", args=[user.pk]))


def of_models(request: HttpRequest, text: str) -> Iterator[Hit]:
    """Registered models and prompts: those with an owner by any part of the name, others by the whole name."""
    if not request.user.has_perm(permissions.VIEW_REGISTRATION):
        return
    environments = ApiKey.Environment.values
    owned = Owner.objects.filter(environment__in=environments, kind="registered_model", is_reserved=False)
    found = list(
        owned.filter(name__icontains=text)
        .order_by("name", "organisation")
        .values_list("environment", "organisation__slug", "name")[:MOST]
    )
    rows = Registration.objects.effective().filter(
        object_name=text, kind__in=("registered_model", "model_version")
    )
    found += (
        rows.order_by("environment", "organisation__slug")
        .values_list("environment", "organisation__slug", "object_name")
        .distinct()[:MOST]
    )
    for environment, slug, name in dict.fromkeys(found):
        query = urlencode({"name": name, "environment": environment, "organisation": slug})
        link = f"{reverse('admin:proxy_registration_model')}?{query}"
        yield Hit(title=name, kind=describe_model(environment, slug), link=link)


def describe_model(environment: str, slug: str) -> str:
    """ "Model", "Model of lab, test registry"."""
    words = gettext("Model") if slug == SHARED else gettext("Model of %(slug)s") % {"slug": slug}
    return words if environment == "live" else gettext("%(model)s, test registry") % {"model": words}


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
        yield of_key(key, is_old=match.is_previous)
        for name in offered_actions(request, key):
            link = reverse(f"admin:keys_apikey_{name}", args=[key.pk])
            yield Hit(title=f"{ACTION_LABELS[name]}: {key.name}", kind="Do", link=link)


def of_key(key: ApiKey, *, is_old: bool) -> Hit:
    old = REPLACED if is_old else ""
    return Hit(
        title=f"{key.name} ({key.masked})",
        kind=f"Key of {key.owner.username}, {key.state}{old}",
        link=reverse("admin:keys_apikey_change", args=[key.pk]),
    )
