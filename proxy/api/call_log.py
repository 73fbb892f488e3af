"""Records calls of the management API in the usage log, under operation names such as `portal.keys.rotate`."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from keys.credentials import tokens
from keys.credentials.addresses import client_address
from proxy.routes.objects import ObjectRef
from proxy.usage.recording import CallInProgress
from proxy.usage.transfers import record_response

PREFIXES = ("/api/v1/", "/scim/v2/")
KINDS = {"key_id": "api_key", "user_id": "user"}


def record_calls(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware that records calls with a known caller and counts attempts without a valid key."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith(PREFIXES):
            return get_response(request)
        meta = request.META
        call = CallInProgress(
            request_id=meta["portal.request_id"],
            method=request.method or "",
            path=tokens.hide(meta["PATH_INFO"]),
            address=client_address(meta, trusted_proxies=settings.TRUSTED_PROXIES),
            client=tokens.hide(meta.get("HTTP_USER_AGENT", "")),
        )
        response = get_response(request)
        call.caller = getattr(request, "api_caller", None)
        call.is_counted = hasattr(request, "api_counted_call")
        call.counted_call = getattr(request, "api_counted_call", None)
        call.reason = getattr(request, "api_reason", "")
        if match := request.resolver_match:
            call.operation = match.view_name or ""
            call.named_object = next(
                (
                    ObjectRef(kind=KINDS[name], name=value)
                    for name, value in match.kwargs.items()
                    if name in KINDS
                ),
                None,
            )
        if call.caller is None and not call.reason:
            return response
        length = meta.get("CONTENT_LENGTH") or ""
        call.bytes_in = int(length) if length.isdecimal() else 0
        return record_response(response, call, meta)

    return middleware
