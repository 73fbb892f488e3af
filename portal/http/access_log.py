"""What is said of every call at its end: one line in the log, the numbers of /metrics, and a span."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from keys.credentials.addresses import client_address
from portal.http import logs
from portal.http.middleware import PAGE, PASSAGE, REQUEST_ID, STARTED, USER_ID
from proxy.usage import metrics, tracing

logger = logging.getLogger("portal.access")

QUIET = ("/health", "/metrics", "/static/")  # asked so often that a line each, if all is well, tells nothing


def began() -> None:
    metrics.IN_FLIGHT.inc()


def ended(environ: Mapping[str, Any], *, status: int, sent: int, trusted_proxies: int) -> None:
    """The server has done with the request of this WSGI environment; `sent` bytes of body went out."""
    metrics.IN_FLIGHT.dec()
    logs.request_id.set("")
    if STARTED not in environ:  # it was not HTTP, and the server itself answered
        return
    seconds = time.perf_counter() - environ[STARTED]
    if passage := environ.get(PASSAGE):
        metrics.count(passage.final_record, seconds=seconds)
        tracing.end(passage)
        caller = passage.caller
        about = {
            "operation": passage.operation,
            "status": passage.status,
            "reason": passage.reason,
            "key_id": caller.key_id if caller else "",
            "user_id": caller.user.public_id if caller else "",
            "address": passage.address,
            "upstream_ms": round(passage.upstream_ms, 1),
            "bytes_in": passage.bytes_in,
            "bytes_out": passage.bytes_out,
        }
    else:
        metrics.count_page(status=status, seconds=seconds, sent=sent)
        about = {
            "page": environ.get(PAGE, ""),
            "status": status,
            "user_id": environ.get(USER_ID, ""),
            "address": client_address(environ, trusted_proxies=trusted_proxies),
            "bytes_out": sent,
        }
    is_quiet = status < 400 and environ["PATH_INFO"].startswith(QUIET)
    logger.log(
        logging.DEBUG if is_quiet else logging.INFO,
        "call",
        extra={
            "request_id": environ.get(REQUEST_ID, ""),
            "method": environ["REQUEST_METHOD"][:16],
            **about,
            "ms": round(seconds * 1000, 1),
        },
    )
