"""Refusals as problem details (RFC 9457), the form of every error of the management API."""

from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.http import HttpRequest, JsonResponse

from keys.formatting.sentences import plain_punctuation
from keys.refusals import Refusal

CONTENT_TYPE = "application/problem+json"
PREFIX = "/api/v1"


def problem_content(request_id: str, status: int, reason: str, detail: str, **more: Any) -> dict[str, Any]:
    return {
        "type": f"{settings.PUBLIC_URL}/docs/errors/#{reason}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": plain_punctuation(detail),
        "reason": reason,
        "request_id": request_id,
        **more,
    }


def request_id_of(request: HttpRequest) -> str:
    return str(request.META.get("portal.request_id", ""))


def problem_response(request: HttpRequest, refusal: Refusal) -> JsonResponse:
    more = {"errors": refusal.errors} if refusal.errors else {}
    status = 503 if refusal.is_not_sent else refusal.status  # 429 is for MLflow's clients
    content = problem_content(request_id_of(request), status, refusal.reason, refusal.message, **more)
    return JsonResponse(content, status=status, content_type=CONTENT_TYPE, headers=refusal.headers)
