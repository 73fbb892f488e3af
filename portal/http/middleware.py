"""Gives every request an id, checks its host, keeps responses out of caches, and redirects pages whose URL contains an
API key."""

import secrets
import time
from collections.abc import Callable
from urllib.parse import quote, unquote_plus

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponsePermanentRedirect
from django.middleware.common import CommonMiddleware
from whitenoise.middleware import WhiteNoiseFileResponse

from keys.credentials.tokens import KEY_LIKE_PATTERN
from keys.models import User
from portal.http import logs
from portal.http.event_loop import HEALTH, LIVENESS
from proxy.request.headers import carries_key

HEADER = "X-Request-ID"
# Keys in `request.META`, which is the server's WSGI environment too: `portal.http.access_log` reads them at the end.
META_NAME = REQUEST_ID = "portal.request_id"
STARTED, PAGE, USER_ID = "portal.started", "portal.page", "portal.user_id"
CALL_RECORD = "portal.call_record"  # set by `proxy.views`
PAGES = ("/admin/", "/account/", "/docs/")
KEY_LIST = "/admin/keys/apikey/"
PROBED = frozenset(path.decode() for path in HEALTH | LIVENESS)  # health checks and metrics


def request_id(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Put an id, `req_…` (128 random bits in hexadecimal), into `request.META`, every log line of the request, and the
    response.

    An id that the client sends is ignored: the id is the key of the usage log.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        request.META[STARTED] = time.perf_counter()
        name = request.META[REQUEST_ID] = f"req_{secrets.token_hex(16)}"
        logs.request_id.set(name)
        response = get_response(request)
        response[HEADER] = name
        if match := request.resolver_match:
            request.META[PAGE] = match.view_name or match.route
        if user := known_user(request):
            request.META[USER_ID] = user.public_id
        return response

    return middleware


def private_responses(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Keep every response except the portal's own files out of caches: some caches serve the response to one caller's
    `X-API-Key` to another caller.

    Only the files of MLflow's own pages, which a session reads, may stay in that browser
    (`proxy.policy.browser_responses`).
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        is_own_file = isinstance(response, WhiteNoiseFileResponse)
        may_stay = response.get("Cache-Control", "").startswith("private, max-age=")
        if not is_own_file and (carries_key(request.META) or not may_stay):
            response["Cache-Control"] = "private, no-store"
        return response

    return middleware


class HostCheck(CommonMiddleware):
    """Django's check of the `Host` header, but not for health checks and metrics: probes and scrapers call a replica by
    its address, or send no `Host` at all."""

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        return None if request.path_info in PROBED else super().process_request(request)


def known_user(request: HttpRequest) -> User | None:
    """The signed-in user, if the view has loaded it; does not load it for the log."""
    for name in ("_cached_user", "user"):
        if type(user := request.__dict__.get(name)) is User:
            return user
    return None


def no_key_in_address(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Redirect a page whose query contains an API key to the same URL without the query.

    People paste keys into any search field. The pages' own forms do not send them, but a key in a typed or bookmarked
    URL must not stay in the history, in the `next=` of sign-in, or in the Referer of the next page. The list of keys
    looks the key up first (`keys.admin.keys.ApiKeyAdmin.list_view`); MLflow's paths have a refusal of their own.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        query = request.META.get("QUERY_STRING", "")
        is_page = request.path.startswith(PAGES) and request.path != KEY_LIST
        if query and is_page and KEY_LIKE_PATTERN.search(unquote_plus(unquote_plus(query))):
            return HttpResponse(
                status=303,
                headers={
                    "Location": quote(request.path),
                    "Referrer-Policy": "no-referrer",
                },
            )
        return get_response(request)

    return middleware
