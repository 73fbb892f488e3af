"""The search of the account pages, opened with Ctrl K: the holder's own keys, models and request ids, and the pages."""

from collections.abc import Iterator
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_POST

from keys.credentials import tokens
from keys.credentials.lookup import find_key
from keys.models import ApiKey, User
from portal.account.frame import holder
from portal.pages.palette import MOST, REPLACED, REQUEST_ID, Hit, describe_model
from proxy.models import Call, Owner, UncalledRequest

PAGES = {
    "Your keys": "account",
    "Request a key": "account-request-new",
    "Usage": "account-usage",
    "Calls": "account-calls",
    "Registrations": "account-registrations",
    "Why did my call fail?": "account-find",
    "Security": "mfa_index",
    "Docs": "docs",
}


@require_POST
@login_required
@sensitive_post_parameters("text")
@sensitive_variables("text")
def palette(request: HttpRequest) -> HttpResponse:
    """The hits as an HTML fragment. Nothing of other users is found; the response repeats no key."""
    text, user = request.POST.get("text", "").replace("\0", "").strip(), holder(request)
    if tokens.KEY_LIKE_PATTERN.search(text):
        hits = [*of_secret(user, text)]
    else:
        hits = [*of_request(user, text), *of_pages(text.lower())]
        hits += [*own_keys(user, text), *own_models(user, text)] if text else []
    return render(request, "palette_hits.html", {"hits": hits, "text": bool(text)})


def of_request(user: User, text: str) -> Iterator[Hit]:
    """The user's call with this request id, or the request that became no call."""
    if not REQUEST_ID.fullmatch(text):
        return
    if call := Call.objects.filter(user=user).with_request_id(text):
        kind = gettext("Call: %(what)s") % {
            "what": f"{call.operation or call.path}, {call.status} {call.reason}".rstrip()
        }
    elif refused := UncalledRequest.find(text):
        kind = gettext("Request that became no call: %(what)s") % {
            "what": f"{refused.status} {refused.reason}"
        }
    else:
        return
    yield Hit(title=text, kind=kind, link=reverse("account-call", args=[text]))


def of_pages(text: str) -> Iterator[Hit]:
    for english, name in PAGES.items():
        title = gettext(english)
        if text in title.lower():
            yield Hit(title=title, kind=gettext("Page"), link=reverse(name))


def own_keys(user: User, text: str) -> Iterator[Hit]:
    for key in user.api_keys.matching(text).with_owner()[:MOST]:
        yield of_key(key, is_old=key.matches_old_secret(text))


def own_models(user: User, text: str) -> Iterator[Hit]:
    models = Owner.objects.filter(user=user).registered_models().filter(name__icontains=text)
    for model in models.select_related("organisation").order_by("name", "environment", "organisation")[:MOST]:
        slug = model.organisation.slug
        query = urlencode({"name": model.name, "environment": model.environment, "organisation": slug})
        link = f"{reverse('account-model')}?{query}"
        yield Hit(title=model.name, kind=describe_model(model.environment, slug), link=link)


@sensitive_variables("text", "secret")
def of_secret(user: User, text: str) -> Iterator[Hit]:
    """The user's own key with this secret."""
    try:
        secret = tokens.parse_first(text)
    except tokens.InvalidToken:
        return
    match = find_key(secret)
    if match and match.key.owner_id == user.pk:
        yield of_key(match.key, is_old=match.is_previous)


def of_key(key: ApiKey, *, is_old: bool) -> Hit:
    return Hit(
        title=f"{key.name} ({key.masked})",
        kind=gettext("Key, %(state)s") % {"state": gettext(key.state)} + gettext(REPLACED if is_old else ""),
        link=reverse("account-key", args=[key.public_id]),
    )
