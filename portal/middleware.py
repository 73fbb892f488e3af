"""Every request gets an id of ours, every answer carries it."""

import secrets
import time
from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from keys.models import User
from portal import logs

HEADER = "X-Request-ID"
# Names in `request.META`, which is the server's environment too: `portal.access` reads them at the call's end.
META_NAME = REQUEST_ID = "portal.request_id"
STARTED, PAGE, USER_ID = "portal.started", "portal.page", "portal.user_id"
PASSAGE = "portal.passage"  # set by `proxy.views`


def request_id(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Names the request `req_…` (128 random bits in hexadecimal) in `request.META`, in every line of the log
    that it causes, and in the answer.

    What the caller sends under this name is not believed: the id is the key of the usage log.
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


def known_user(request: HttpRequest) -> User | None:
    """Who is signed in, if the answer's maker has asked; nobody is looked up for this."""
    for name in ("_cached_user", "user"):
        if type(user := request.__dict__.get(name)) is User:
            return user
    return None
