"""MLflow's own pages for signed-in people: whose session it is, what it may do, and how answers are kept harmless.

A session counts below `/mlflow/` alone, and never beside a key. It reads everything, as every key does that
reads; it writes what one of the user's own live keys may write from there, and of that only what is the user's.
A browser sends its cookies whoever made it call, so each request has to come from our own page; and an artifact
is a stranger's file, which must not become a page of ours.
"""

import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import resolve_url

from keys.credentials.addresses import is_within
from keys.credentials.authentication import refuse_key_in_query
from keys.credentials.caller import Caller
from keys.database import database_required
from keys.models import ApiKey, User
from keys.refusals import Refusal, forbidden, invalid, unauthenticated
from proxy.policy import permissions
from proxy.policy.permissions import Attempt, Permit, TraceProbe
from proxy.request.headers import carries_key, is_browser
from proxy.routes.objects import RequestObjects
from proxy.routes.operations import Match, Operation
from proxy.routes.ui_links import ROOT

MOUNT = ROOT.rstrip("/")
# What MLflow 3.17's pages need: their charts and grids make functions of text, their styles are inline, previews
# and workers are blobs. No inline script, and nothing from another host: what is written into a page cannot run.
PAGE_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "media-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "frame-src 'self' blob:",
        "connect-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
CONTENT_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
# What MLflow's pages ask for on their own and no one may have here: answered as by a server that has none of it,
# so that the pages go on.
ABSENT: dict[tuple[str, str], dict[str, object]] = {
    ("GET", "/ajax-api/3.0/mlflow/assistant/config"): {
        "providers": {},
        "projects": {},
        "remote_access_allowed": False,
        "resolved": None,
    },
    ("GET", "/ajax-api/3.0/mlflow/assistant/providers"): {"providers": []},
    ("GET", "/ajax-api/2.0/mlflow/gateway-proxy"): {"endpoints": []},
    ("GET", "/ajax-api/2.0/mlflow/users/current"): {"user": None},
    ("GET", "/ajax-api/3.0/mlflow/ui-telemetry"): {
        "disable_ui_telemetry": True,
        "disable_ui_events": [],
        "ui_rollout_percentage": 0,
    },
    ("POST", "/ajax-api/3.0/mlflow/ui-telemetry"): {"status": "disabled"},
}
# Operations that answer with a file of somebody's.
CONTENT = frozenset(
    {
        "pages.get-artifact",
        "pages.get-version-artifact",
        "logged-models.get-artifact",
        "traces.get-artifact",
        "artifacts.download",
    }
)
# Where a browser may put nothing but the pages' own files: what a caller uploaded would run there, or dress a page.
# MLflow's pages fetch what they preview, and show images and media.
LIVELY = frozenset(
    {
        *("script", "worker", "sharedworker", "serviceworker", "audioworklet", "paintworklet", "xslt"),
        *("style", "manifest", "object", "embed", "frame", "iframe", "fencedframe"),
    }
)
CODE = re.compile(r"\b(?:(?:x-)?(?:java|ecma|j|live)script\S*|css)\b", re.IGNORECASE)
PAGE_SECONDS = 28 * 24 * 3600  # how long a browser may keep the pages' files; their names change with them
OWN_PAGE = (
    "A signed-in browser's calls have to come from MLflow's own pages here, and browsers say where a call comes "
    "from only over HTTPS or on this machine."
)


def is_session(request: HttpRequest, mount: str) -> bool:
    """Whether a session is to say who calls. Costs calls with a key nothing."""
    return (
        mount == MOUNT and not carries_key(request.META) and settings.SESSION_COOKIE_NAME in request.COOKIES
    )


def redirection(request: HttpRequest, mount: str) -> HttpResponseBase | None:
    """Where a person's browser goes in place of an answer for programs: MLflow's client prints links such as
    `/api/mlflow/#/experiments/0`."""
    if not is_visit(request):
        return None
    path = request.META["PATH_INFO"].removeprefix(mount)
    if mount == "/api/mlflow" and path in ("", "/"):
        return HttpResponseRedirect(ROOT)
    if mount != MOUNT:
        return None
    refuse_key_in_query(request.META.get("QUERY_STRING", ""))
    if not (is_session(request, mount) and user_of(request)):
        return redirect_to_login(request.get_full_path(), resolve_url(settings.LOGIN_URL))
    return HttpResponseRedirect(ROOT) if path == "" else None  # the page's addresses are relative


def is_visit(request: HttpRequest) -> bool:
    """A person goes to this address."""
    target = request.META.get("HTTP_SEC_FETCH_DEST", "document")
    return request.method == "GET" and is_browser(request.META) and target == "document"


def user_of(request: HttpRequest) -> User | None:
    with database_required("The portal cannot look up your session just now. Try again in a few seconds."):
        return request.user if request.user.is_authenticated else None


def authenticate(request: HttpRequest) -> Caller:
    """The signed-in user, as a reader. Raises Refusal (401) without one, which deactivation brings about too."""
    refuse_key_in_query(request.META.get("QUERY_STRING", ""))
    user = user_of(request)
    if user is None:
        raise unauthenticated(
            "signed_out", "You are not signed in any more. Sign in again, then reload the page."
        )
    return Caller.by_session(user)


def check_source(request: HttpRequest) -> None:
    """Raise Refusal (400, 403) unless the request comes from a page of ours (https://www.w3.org/TR/fetch-metadata/).

    Cookies go along with what other sites' pages send, and forms and images need nobody's consent for that. So
    a write needs the browser's own word for where it comes from, and JSON, which no form sends; a read its word
    or, where browsers do not give it, the address of our page. MLflow's page itself holds nothing: anyone may
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
            raise forbidden("cross_site", f"This call does not come from here. {OWN_PAGE}")
        return
    if site != "same-origin":
        raise forbidden("cross_site", f"This call does not say that it comes from here. {OWN_PAGE}")
    has_body = meta.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in meta
    if has_body and meta.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != "application/json":
        raise invalid(
            "not_json", "A browser's calls that change something bring JSON (Content-Type: application/json)."
        )


def check_destination(request: HttpRequest, operation: Operation) -> None:
    """Raise Refusal (403) for what would become a script, a style or a frame and is no file of MLflow's pages."""
    destination = request.META.get("HTTP_SEC_FETCH_DEST", "").lower()
    if destination in LIVELY and operation.name != "pages.file":
        raise forbidden(
            "not_for_pages",
            f"What this answers is data; no page may take it as {destination}. Download it, or see its preview.",
        )


def origin(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}"


def permit(
    caller: Caller,
    attempt: Attempt,
    *,
    match: Match,
    exists: TraceProbe,
    named: Callable[[RequestObjects], None],
) -> Permit:
    """The permit for a session's call: as a reader, or as one of the user's own keys would get it.

    Raises Refusal, of several keys' the first one's.
    """
    refusals = []
    for candidate in candidates(caller.user, match.operation, attempt.address):
        try:
            return permissions.permit(candidate, attempt, match=match, exists=exists, named=named)
        except Refusal as refusal:
            refusals.append(refusal)
    raise refusals[0]


def candidates(user: User, operation: Operation, address: str) -> Iterator[Caller]:
    """The user as each of their own keys that has the operation's scopes, here; as a reader if none has."""
    if operation.is_read:
        yield Caller.by_session(user)
        return
    tried = set()
    with database_required("The portal cannot look up your rights just now. Try again in a few seconds."):
        keys = list(
            ApiKey.objects.active().filter(
                owner=user,
                environment=ApiKey.Environment.LIVE,
                is_canary=False,
                scopes__contains=list(operation.scopes),
            )
        )
    for key in keys:
        patterns = tuple(key.patterns)
        if patterns not in tried and (not key.networks or is_within(address, key.networks)):
            tried.add(patterns)
            yield Caller.by_session(user, rights_of=key)
    if not tried:
        yield Caller.by_session(user)


def protect(response: HttpResponseBase, operation: Operation) -> None:
    """Keep MLflow's answer from becoming more than it is: an artifact or JSON a page of ours, any of it a part
    of another site's page."""
    is_good = response.status_code < 400
    is_page = is_good and operation.name in ("pages.index", "pages.file")
    response["Content-Security-Policy"] = PAGE_POLICY if is_page else CONTENT_POLICY
    response["X-Content-Type-Options"] = "nosniff"
    response["Cross-Origin-Resource-Policy"] = "same-origin"
    if not is_page and CODE.search(response.headers.get("Content-Type", "")):
        response["Content-Type"] = "text/plain; charset=utf-8"
    is_file = is_good and operation.name == "pages.file"
    response["Cache-Control"] = f"private, max-age={PAGE_SECONDS}" if is_file else "private, no-store"
    if operation.name in CONTENT:
        disposition = response.headers.get("Content-Disposition", "")
        if not disposition.lower().startswith("attachment"):
            response["Content-Disposition"] = "attachment"
