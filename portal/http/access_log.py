"""At the end of every request: one line in the log, the numbers of /metrics, and a span."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from keys.credentials.addresses import client_address
from keys.credentials.tokens import hide
from portal.http import logs
from portal.http.middleware import CALL_RECORD, PAGE, REQUEST_ID, STARTED, USER_ID
from proxy.usage import metrics, tracing

logger = logging.getLogger("portal.access")

QUIET = ("/health", "/metrics", "/static/")  # too frequent for a line each; logged at DEBUG unless they fail


def request_started() -> None:
    metrics.IN_FLIGHT.inc()


def request_ended(environ: Mapping[str, Any], *, status: int, sent: int, trusted_proxies: int) -> None:
    """Log and count the request of this WSGI environment, of whose response `sent` bytes of body were sent."""
    metrics.IN_FLIGHT.dec()
    logs.request_id.set("")
    if STARTED not in environ:  # invalid HTTP, which the server itself answered
        return
    seconds = time.perf_counter() - environ[STARTED]
    if call := environ.get(CALL_RECORD):
        metrics.count(call.final_record, seconds=seconds)
        tracing.end(call)
        caller = call.caller
        fields: dict[str, Any] = {
            "operation": call.operation,
            "status": call.status,
            "reason": call.reason,
            "key_id": caller.key_id if caller else "",
            "user_id": caller.user.public_id if caller else "",
            "address": call.address,
            "upstream_ms": round(call.upstream_ms, 1),
            "bytes_in": call.bytes_in,
            "bytes_out": call.bytes_out,
        }
    else:
        metrics.count_page(status=status, seconds=seconds, sent=sent)
        fields = {
            "page": environ.get(PAGE, ""),
            "status": status,
            "user_id": environ.get(USER_ID, ""),
            "address": client_address(environ, trusted_proxies=trusted_proxies),
            "bytes_out": sent,
        }
    is_quiet = status < 400 and environ["PATH_INFO"].startswith(QUIET)
    fields = {
        "request_id": environ.get(REQUEST_ID, ""),
        "method": environ["REQUEST_METHOD"][:16],
        **fields,
        "ms": round(seconds * 1000, 1),
    }
    if call and (handler := logs.json_handler()):
        # Only these two contain text of the caller's; the other fields are the portal's own.
        fields["method"], fields["address"] = hide(fields["method"]), hide(fields["address"])
        logs.write_line(handler, logger.name, "call", fields)
    else:
        logger.log(logging.DEBUG if is_quiet else logging.INFO, "call", extra=fields)
