"""Hands a program's calls to MLflow's view without Django's handler, whose middleware is for sessions, forms and pages.

The response is the same as through the handler: `tests/portal/calls/test_dispatcher.py` compares the two.
"""

import contextlib
import io
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django.core.exceptions import DisallowedHost
from django.core.handlers.exception import response_for_exception
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, HttpResponseBase
from django.http.request import HttpRequest
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware
from django.urls import URLPattern
from django.utils.log import log_response

from keys.database import give_back_connection
from portal.calls import probes
from portal.calls.responses import KNOWN_HEADERS
from portal.http import logs
from portal.http.middleware import HEADER, REQUEST_ID, STARTED
from portal.http.requests import PortalRequest
from proxy.request.headers import carries_key
from proxy.slot_queue import WaitsForSlot
from proxy.urls import urlpatterns
from proxy.views import MlflowProxy

OWN_SUFFIX = "/health/mlflow"  # the portal's own paths below MLflow's mounts
Mount = tuple[Callable[[str], Any], str]


def read_mount(pattern: URLPattern) -> Mount:
    return pattern.pattern.regex.match, pattern.default_args["mount"]


MOUNTS = [read_mount(pattern) for pattern in urlpatterns]


def no_response(request: HttpRequest) -> HttpResponseBase:
    raise NotImplementedError("only the middleware's own steps are used")


SECURITY, FRAMES = SecurityMiddleware(no_response), XFrameOptionsMiddleware(no_response)


def headers_of_middleware(*, is_secure: bool) -> list[tuple[str, str]]:
    """The headers that the middleware sets on a response that has none."""
    scheme = "https" if is_secure else "http"
    request = PortalRequest({"REQUEST_METHOD": "GET", "wsgi.url_scheme": scheme, "wsgi.input": io.BytesIO()})
    response = SECURITY.process_response(request, FRAMES.process_response(request, HttpResponse()))
    del response.headers["Content-Type"]
    return [*response.headers.items()]


ALWAYS = {is_secure: headers_of_middleware(is_secure=is_secure) for is_secure in (False, True)}
UNCACHED = ("Cache-Control", "private, no-store")
OWN = frozenset({"cache-control", HEADER.lower()})  # whatever MLflow says
KNOWN_HEADERS.update(ALWAYS[False], ALWAYS[True], [UNCACHED, ("Content-Type", "application/json")])


def headers_to_send(response: HttpResponseBase, *, is_secure: bool) -> list[tuple[str, str]]:
    """The response's headers with those that the middleware would set."""
    headers = [pair for pair in response.headers.items() if pair[0].lower() not in OWN]
    names = {name.lower() for name, _ in headers}
    return [*headers, *(pair for pair in ALWAYS[is_secure] if pair[0].lower() not in names), UNCACHED]


def find_mount(environ: Mapping[str, Any]) -> str | None:
    """The mount of MLflow's view, if the request is a program's call to MLflow: it carries a key and no cookie."""
    path = environ["PATH_INFO"]
    if environ.get("HTTP_COOKIE") or not carries_key(environ) or path.endswith(OWN_SUFFIX):
        return None
    path = path.removeprefix("/")
    return next((mount for matches, mount in MOUNTS if matches(path)), None)


def respond(environ: dict[str, Any], start_response: Any, mount: str) -> "CallResponse":
    """The WSGI response to a call."""
    connection = environ.get("gunicorn.socket")
    environ[STARTED] = time.perf_counter() - getattr(connection, "waited_for_slot", 0.0)
    if getattr(connection, "can_wait", False):
        connection.may_wait = True  # type: ignore[union-attr]
    name = environ[REQUEST_ID] = f"req_{secrets.token_hex(16)}"
    logs.request_id.set(name)
    request = PortalRequest(environ)
    response: Any = SECURITY.process_request(request) or call_view(request, mount)
    if response.status_code >= 500:  # the level of the logger `django.request`
        log_response("%s: %s", response.reason_phrase, request.path, response=response, request=request)
    headers = headers_to_send(response, is_secure=bool(SECURITY.sts_seconds) and request.is_secure())
    start_response(f"{response.status_code} {response.reason_phrase}", [*headers, (HEADER, name)])
    return CallResponse(response)


def call_view(request: PortalRequest, mount: str) -> HttpResponseBase:
    """The view's response, with the check of the host and the Content-Length that Django's CommonMiddleware adds."""
    try:
        request.get_host()
    except DisallowedHost as error:
        return response_for_exception(request, error)
    try:
        view = MlflowProxy()
        view.setup(request)
        response = view.dispatch(request, mount)
    except Exception as error:
        response = response_for_exception(request, error)
    except WaitsForSlot:
        del request.META[STARTED]  # the request has not ended, and is not logged
        give_back_connection()
        raise
    if not response.streaming and not response.has_header("Content-Length"):
        response.headers["Content-Length"] = str(len(response.content))  # type: ignore[attr-defined]
    return response


class CallResponse:
    """A response that the server sends. Its end frees what the call held, without Django's signals."""

    def __init__(self, response: HttpResponseBase) -> None:
        self.response = response

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.response)

    def close(self) -> None:
        for closer in self.response._resource_closers:  # type: ignore[attr-defined]
            with contextlib.suppress(Exception):  # as Django does
                closer()
        self.response._resource_closers.clear()  # type: ignore[attr-defined]
        give_back_connection()


class PortalHandler(WSGIHandler):
    """The WSGI application: Django's handler, except for a program's calls to MLflow."""

    request_class = PortalRequest

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        mount = find_mount(environ)
        if mount is None:
            return super().__call__(environ, start_response)
        return respond(environ, start_response, mount)

    def get_response(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info in probes.PATHS:
            request.urlconf = probes.__name__
        return super().get_response(request)
