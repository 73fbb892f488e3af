"""Every request gets an id of ours, every answer carries it."""

import secrets
from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

HEADER = "X-Request-ID"
META_NAME = "portal.request_id"


def request_id(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Names the request `req_…` (128 random bits in hexadecimal) in `request.META` and in the answer.

    What the caller sends under this name is not believed: the id is the key of the usage log.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        name = request.META[META_NAME] = f"req_{secrets.token_hex(16)}"
        response = get_response(request)
        response[HEADER] = name
        return response

    return middleware
