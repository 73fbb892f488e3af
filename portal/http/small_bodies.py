"""The portal's own pages and its API accept only bodies that the event loop has read before a thread gets the request.

So nobody can occupy threads by sending a form slowly. `proxy.upstream.in_flight` limits forwarded calls.
"""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponseBase

from keys.refusals import Refusal, invalid
from proxy.answers import refuse
from proxy.request.bodies import SMALL_BODY
from proxy.views import MlflowProxy


class SmallBodies:
    """Refuses bodies that are too large or of unknown length."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Any, arguments: Any, options: Any
    ) -> HttpResponseBase | None:
        if getattr(view, "view_class", None) is MlflowProxy:
            return None
        meta = request.META
        if "HTTP_TRANSFER_ENCODING" in meta or "HTTP_EXPECT" in meta:
            return refuse(request, unknown_length())
        length = meta.get("CONTENT_LENGTH") or "0"
        if length.isdecimal() and int(length) > SMALL_BODY:
            return refuse(request, too_large())
        return None


def unknown_length() -> Refusal:
    return invalid(
        "unwanted_framing",
        "Send the body at once and with its Content-Length, not in chunks and not after asking.",
    )


def too_large() -> Refusal:
    return Refusal(
        status=413,
        error_code="RESOURCE_EXHAUSTED",
        reason="body_too_large",
        message=f"The body is larger than the portal's own pages take ({SMALL_BODY:,} bytes). Send less at once.",
    )
