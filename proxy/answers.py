"""The portal's own answers: refusals as MLflow's error JSON, or as a page for a person."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from keys.refusals import Refusal

# MLflow's names (mlflow/protos/databricks.proto); what is not here becomes INTERNAL_ERROR in its client anyway.
ERROR_CODES = {
    400: "INVALID_PARAMETER_VALUE",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "ENDPOINT_NOT_FOUND",
    409: "RESOURCE_CONFLICT",
    413: "RESOURCE_EXHAUSTED",
    429: "REQUEST_LIMIT_EXCEEDED",
    502: "TEMPORARILY_UNAVAILABLE",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
CREDENTIAL_HEADERS = ("HTTP_AUTHORIZATION", "HTTP_X_API_KEY")


def is_browser(request: HttpRequest) -> bool:
    """A person looks at this: the request wants HTML and brings no key."""
    return "text/html" in request.META.get("HTTP_ACCEPT", "") and not any(
        request.META.get(name) for name in CREDENTIAL_HEADERS
    )


def refuse(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    """The answer to a request that is not served, in the form its sender can read."""
    request_id = request.META.get("portal.request_id", "")
    if is_browser(request):
        context = {"refusal": refusal, "request_id": request_id}
        response = render(request, "error.html", context, status=refusal.status)
    else:
        content = {
            "error_code": refusal.error_code,
            "message": refusal.message,
            "request_id": request_id,
        }
        response = JsonResponse(content, status=refusal.status)
    for name, value in refusal.headers.items():
        response[name] = value
    response["Cache-Control"] = "no-store"
    return response
