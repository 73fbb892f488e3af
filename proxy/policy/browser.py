"""Sessions of signed-in people on MLflow's own pages: who calls, from where, and what the session may do.

A session counts only below `/mlflow/`, and never beside a key. It reads everything, as every key does that may
read; it writes what one of the user's own live keys may write from the same address, and only the user's own
objects. Browsers send cookies with requests that any page triggers, so each request must come from our own page.
"""

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import resolve_url

from keys.credentials.addresses import is_within
from keys.credentials.authentication import refuse_key_in_query
from keys.credentials.caller import Caller
from keys.credentials.headers import carries_own_key
from keys.database import database_required
from keys.models import ApiKey, Organisation, User
from keys.refusals import forbidden, invalid, unauthenticated
from proxy.policy import permissions
from proxy.policy.decisions import Decision, ReceivedRequest
from proxy.request.headers import is_browser
from proxy.routes.objects import RequestObjects
from proxy.routes.operations import Operation
from proxy.routes.ui_links import ROOT

MOUNT = ROOT.rstrip("/")
# Destinations (Sec-Fetch-Dest) where a browser may load only the pages' own files: a caller's upload would run
# there, or change how a page looks. MLflow's pages fetch what they preview, and show images and media.
ACTIVE_DESTINATIONS = frozenset(
    {
        *("script", "worker", "sharedworker", "serviceworker", "audioworklet", "paintworklet", "xslt"),
        *("style", "manifest", "object", "embed", "frame", "iframe", "fencedframe"),
    }
)
CHOSEN = "organisation"  # the slug in the session
OWN_PAGE = (
    "A signed-in browser may call only from MLflow's own pages on this portal, and browsers state where a call "
    "comes from only over HTTPS or on this machine."
)


def is_session(request: HttpRequest, mount: str) -> bool:
    """Whether the session identifies the caller. Costs calls with a key no look-up."""
    is_here = mount == MOUNT and settings.SESSION_COOKIE_NAME in request.COOKIES
    return is_here and not carries_own_key(request.META)


def redirection(request: HttpRequest, mount: str) -> HttpResponseBase | None:
    """The redirect for a person's browser on an address for programs, None if it may stay: MLflow's client prints
    links such as `/api/mlflow/#/experiments/0`."""
    if not is_visit(request):
        return None
    path = request.META["PATH_INFO"].removeprefix(mount)
    if mount.startswith("/api/mlflow") and path in ("", "/"):
        return HttpResponseRedirect(ROOT)
    if mount != MOUNT:
        return None
    refuse_key_in_query(request.META.get("QUERY_STRING", ""))
    if not (is_session(request, mount) and user_of(request)):
        return redirect_to_login(request.get_full_path(), resolve_url(settings.LOGIN_URL))
    return HttpResponseRedirect(ROOT) if path == "" else None  # the page's links are relative


def is_visit(request: HttpRequest) -> bool:
    """Whether a person opens this address in a browser."""
    target = request.META.get("HTTP_SEC_FETCH_DEST", "document")
    return request.method == "GET" and is_browser(request.META) and target == "document"


def user_of(request: HttpRequest) -> User | None:
    with database_required("The portal cannot look up your session just now. Try again in a few seconds."):
        return request.user if request.user.is_authenticated else None


def session_organisation(request: HttpRequest, user: User) -> Organisation:
    """The organisation that the user chose for MLflow's pages, or else the first one in which the user works. Raises
    Refusal (403) if there is none any more."""
    with database_required("The portal cannot look up your session just now. Try again in a few seconds."):
        organisations = list(Organisation.objects.of_user(user))
        chosen = request.session.get(CHOSEN)
    if not organisations:
        raise forbidden(
            "no_organisation",
            "You are in no organisation any more. Ask your administrator to add you to one.",
        )
    return next((each for each in organisations if each.slug == chosen), organisations[0])


def authenticate(request: HttpRequest) -> Caller:
    """The signed-in user, as a reader. Raises Refusal (401) if nobody is signed in, or the user was deactivated."""
    refuse_key_in_query(request.META.get("QUERY_STRING", ""))
    user = user_of(request)
    if user is None:
        raise unauthenticated(
            "signed_out", "You are not signed in any more. Sign in again, then reload the page."
        )
    return Caller.by_session(user, organisation=session_organisation(request, user))


def check_source(request: HttpRequest) -> None:
    """Raise Refusal (400, 403) unless the request comes from a page of ours (https://www.w3.org/TR/fetch-metadata/).

    Browsers send cookies with requests from other sites' pages, and forms and images need no consent for that. A
    write therefore needs the browser's own statement of its source, and JSON, which no form sends; a read needs that
    statement or, where browsers omit it, the address of our page. MLflow's page itself holds no data: any site may
    link to it.
    """
    meta = request.META
    own = {f"{request.scheme}://{request.get_host()}", origin(settings.PUBLIC_URL)}
    site, source = meta.get("HTTP_SEC_FETCH_SITE", ""), meta.get("HTTP_ORIGIN", "")
    if source and source not in own:
        raise forbidden("cross_site", f"This call comes from another site. {OWN_PAGE}")
    if request.method == "GET":
        is_own = site in ("same-origin", "none") or (not site and origin(meta.get("HTTP_REFERER", "")) in own)
        if not is_own and meta["PATH_INFO"] != ROOT:
            raise forbidden("cross_site", f"This call does not come from a page of this portal. {OWN_PAGE}")
        return
    if site != "same-origin":
        raise forbidden(
            "cross_site", f"This call does not state that it comes from a page of this portal. {OWN_PAGE}"
        )
    has_body = meta.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in meta
    if has_body and meta.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != "application/json":
        raise invalid(
            "not_json", "A browser's write must send JSON. Set the header Content-Type: application/json."
        )


def check_destination(request: HttpRequest, operation: Operation) -> None:
    """Raise Refusal (403) for a response that would become a script, a style or a frame and is no file of MLflow's
    pages."""
    destination = request.META.get("HTTP_SEC_FETCH_DEST", "").lower()
    if destination in ACTIVE_DESTINATIONS and operation.name != "pages.file":
        raise forbidden(
            "not_for_pages",
            f"A page asked for data in order to use it as {destination}, which no page may do. Download the file, "
            "or open its preview.",
        )


def origin(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}"


def decide(session: Caller, request: ReceivedRequest) -> Decision:
    """The decision about a session's call: allowed if the user, as a reader or with one of their own keys, may make
    it. If several keys are refused, the first one's refusal counts."""
    decisions = []
    for caller in candidates(session, request.match.operation, request.address):
        decision = permissions.decide(caller, request)
        if decision.refusal is None:
            return decision
        decisions.append(decision)
    objects = next((each.objects for each in reversed(decisions) if each.objects.first), RequestObjects())
    return replace(decisions[0], objects=objects)


def candidates(session: Caller, operation: Operation, address: str) -> Iterator[Caller]:
    """The user with the rights of each own key that has the operation's scopes and works from `address`; as a reader
    if there is no such key."""
    user, organisation = session.user, session.organisation
    if operation.is_read:
        yield session
        return
    tried = set()
    with database_required("The portal cannot look up your rights just now. Try again in a few seconds."):
        keys = list(
            ApiKey.objects.active().filter(
                owner=user,
                organisation=organisation,
                environment=ApiKey.Environment.LIVE,
                is_canary=False,
                scopes__contains=list(operation.scopes),
            )
        )
    for key in keys:
        patterns = tuple(key.patterns)
        if patterns not in tried and (not key.networks or is_within(address, key.networks)):
            tried.add(patterns)
            yield Caller.by_session(user, organisation=organisation, rights_of=key)
    if not tried:
        yield session
