"""MLflow's response as the caller may see it."""

import re

from django.conf import settings

from keys.refusals import Refusal
from proxy.answers import ERROR_CODES
from proxy.policy import direct_artifacts
from proxy.request import headers
from proxy.routes.operations import Operation
from proxy.upstream.client import UpstreamResponse, bad_gateway

# Parts of an error message that reveal MLflow's database: statements, drivers, addresses.
INTERNALS = re.compile(rb"\[SQL: |\bpsycopg|\b(?:postgresql|mysql|mssql|sqlite)(?:\+\w+)?:/")


def refuse_unpresentable(response: UpstreamResponse, operation: Operation) -> None:
    """Raise Refusal in place of an error response that concerns only the operator, or that reveals internals."""
    content_type = response.headers.get("Content-Type", "")
    if response.status in (401, 407) or (response.status == 403 and "text/plain" in content_type):
        response.close()
        raise bad_gateway(
            "upstream_refused_portal",
            "MLflow refused the portal itself (its credential or its Host header). "
            "Your key is valid; tell your administrator.",
        )
    if response.status < 400:
        return
    if "text/html" in content_type:
        response.close()
        raise upstream_error(response.status, operation)
    if "json" in content_type and INTERNALS.search(response.peek()):
        raise upstream_error(
            response.status,
            operation,
            " Its database rejected the values: one may be too long. MLflow's log has the details.",
        )


def upstream_error(status: int, operation: Operation, detail: str = "") -> Refusal:
    """The refusal in place of MLflow's own text, which is of no use to the caller or confidential."""
    return Refusal(
        status=status,
        error_code=ERROR_CODES.get(status, "INTERNAL_ERROR"),
        reason="upstream_error",
        message=f"MLflow responded to {operation.name} with status {status}.{detail}",
    )


def rewrite(response: UpstreamResponse, operation: Operation, *, url: str, mount: str) -> None:
    """Filter the headers, and the body of `server-info`, for the caller. `url` is MLflow's, `mount` the portal's
    path in front of MLflow's paths."""
    if operation.name == "meta.server-info":
        content_type = response.headers.get("Content-Type", "") or "application/json"
        content = direct_artifacts.filter_flags(response.data, direct_artifacts=settings.DIRECT_ARTIFACTS)
        response.replace(content, content_type=content_type)
        return
    upstream = url + settings.MLFLOW_STATIC_PREFIX
    response.keep(headers.to_caller(response.headers.iteritems(), upstream=upstream, mount=mount))
