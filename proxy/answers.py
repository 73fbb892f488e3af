"""The portal's own error responses: a refusal as MLflow's error JSON, or as a page for a person."""

import json
from contextlib import suppress

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from keys.credentials.tokens import hide
from keys.formatting.problem_details import PREFIX, problem_response
from keys.formatting.sentences import plain_punctuation
from keys.refusals import Refusal
from proxy.request.headers import is_browser

# MLflow's names (mlflow/protos/databricks.proto); its client turns any other into INTERNAL_ERROR.
ERROR_CODES = {
    400: "INVALID_PARAMETER_VALUE",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "ENDPOINT_NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    409: "RESOURCE_CONFLICT",
    412: "PRECONDITION_FAILED",
    413: "RESOURCE_EXHAUSTED",
    415: "UNSUPPORTED_MEDIA_TYPE",
    422: "UNPROCESSABLE_CONTENT",
    429: "REQUEST_LIMIT_EXCEEDED",
    501: "NOT_IMPLEMENTED",
    502: "TEMPORARILY_UNAVAILABLE",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
EXPORT_PATH = "/v1/traces"  # of OpenTelemetry's exporters
EXPORTER_RETRY_SECONDS = 2
REASON_PHRASE_LENGTH = 300  # characters
HEADINGS = {
    400: "This request cannot be read",
    401: "You need an API key here",
    403: "You may not do this",
    404: "There is no such page",
    413: "This is too much at once",
    429: "Too many requests",
    500: "Something went wrong on our side",
    502: "MLflow does not answer",
    503: "Not available just now",
    504: "MLflow does not answer",
}
OTHER_HEADING = "This did not work"


def error_page(refusal: Refusal, request_id: str) -> str:
    """Rendered without the request, so that no context processor, session or database can fail again."""
    heading = HEADINGS.get(503 if refusal.is_not_sent else refusal.status, OTHER_HEADING)
    return render_to_string("error.html", {"refusal": refusal, "request_id": request_id, "heading": heading})


def error_json(refusal: Refusal, request_id: str) -> bytes:
    """The error as MLflow's client reads it. Not escaped, because terminals and logs show it as it is."""
    content = {
        "error_code": refusal.error_code,
        # MLflow's client shows its user only the message.
        "message": f"{plain_punctuation(refusal.message)} (request {request_id})",
        "request_id": request_id,
    }
    return json.dumps(content, ensure_ascii=False).encode(errors="replace")


def sent_address(request: HttpRequest) -> str:
    """The address to which the request went, without its query."""
    with suppress(SuspiciousOperation):  # a Host header that names another host
        return hide(request.build_absolute_uri(request.path))[:500]
    return hide(request.path)[:500]


def name_address(request: HttpRequest, refusal: Refusal) -> Refusal:
    """For a wrong address, the refusal with the address that was sent and the right tracking URI in full."""
    if refusal.reason == "not_a_route":
        refusal.message = (
            f"{refusal.message} The request went to {sent_address(request)}; "
            f"the tracking URI is {settings.PUBLIC_URL}/api/mlflow."
        )
    return refusal


def is_export(request: HttpRequest) -> bool:
    return request.path_info.endswith(EXPORT_PATH)


def fit_exporter(request: HttpRequest, refusal: Refusal) -> Refusal:
    """For an export of spans, a status on which OpenTelemetry's exporters send it again, and a wait that they accept:
    they repeat 429 but not 408, and give up after 10 s in all."""
    if not is_export(request):
        return refusal
    if refusal.status == 408:
        refusal.status, refusal.error_code = 429, "TEMPORARILY_UNAVAILABLE"
        refusal.headers = {"Retry-After": str(EXPORTER_RETRY_SECONDS)}
    if refusal.is_not_sent:
        wait = min(EXPORTER_RETRY_SECONDS, int(refusal.headers["Retry-After"]))
        refusal.headers = {**refusal.headers, "Retry-After": str(wait)}
    return refusal


def reason_phrase(refusal: Refusal) -> str:
    """The message for the status line, of which exporters show nothing else."""
    text = plain_punctuation(refusal.message).encode("ascii", "replace").decode()
    return " ".join(text.split())[:REASON_PHRASE_LENGTH]


def refuse(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    """The response to a refused request, in a form that its sender can read."""
    if request.path_info.startswith(f"{PREFIX}/"):
        return problem_response(request, refusal)
    request_id = request.META.get("portal.request_id", "")
    if is_browser(request.META):
        response = HttpResponse(error_page(refusal, request_id), status=refusal.status)
    else:
        response = HttpResponse(
            error_json(refusal, request_id),
            status=refusal.status,
            reason=reason_phrase(refusal) if is_export(request) else None,
            content_type="application/json",
        )
    for name, value in refusal.headers.items():
        response[name] = value
    return response
