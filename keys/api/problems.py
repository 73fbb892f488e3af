"""Every error of the management API as problem details (RFC 9457)."""

import logging
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from rest_framework import exceptions
from rest_framework.views import set_rollback

from keys.actions import ActionError, NotAllowed
from keys.formatting.problem_details import problem_response
from keys.formatting.sentences import to_sentence
from keys.refusals import Refusal, bad_method, bad_value, conflict, forbidden, invalid, unavailable

logger = logging.getLogger(__name__)


def refusal_of(error: Exception) -> Refusal | None:
    """What an exception means to the caller; None for a fault of the portal's."""
    match error:
        case Refusal():
            return error
        case NotAllowed():
            return forbidden("not_granted", to_sentence(error))
        case ActionError():
            return conflict("not_possible", to_sentence(error))
        case Http404():
            return Refusal(
                status=404,
                error_code="ENDPOINT_NOT_FOUND",
                reason="not_found",
                message="There is nothing of this name that you may see.",
            )
        case PermissionDenied():
            return forbidden("forbidden", "You may not do this here.")
        case RequestDataTooBig():
            return Refusal(
                status=413,
                error_code="RESOURCE_EXHAUSTED",
                reason="body_too_large",
                message=f"The body is larger than {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes. Send less at once.",
            )
        case OperationalError() | InterfaceError():
            return unavailable(
                "database_unavailable", "PostgreSQL does not answer just now. Try again in a few seconds."
            )
        case exceptions.ValidationError():
            return validation(error)
        case exceptions.APIException():
            return framework(error)
    return None


def validation(error: exceptions.ValidationError) -> Refusal:
    errors = error.detail if isinstance(error.detail, dict) else {"body": error.detail}
    first = next(iter(errors.items()), ("body", ""))
    return bad_value(f"{first[0]}: {words(first[1])}", errors)


def words(detail: Any) -> str:
    """The first text in a validation error, at any depth."""
    while isinstance(detail, list | dict) and detail:
        detail = next(iter(detail.values())) if isinstance(detail, dict) else detail[0]
    return str(detail)


def framework(error: exceptions.APIException) -> Refusal:
    """The refusal for an error of Django REST framework's own."""
    message = words(error.detail)
    match error.status_code:
        case 403:
            if message.startswith("CSRF"):
                return forbidden("csrf", message)
            return forbidden("forbidden", message)
        case 405:
            return bad_method(message)
        case 415:
            return Refusal(
                status=415, error_code="UNSUPPORTED_MEDIA_TYPE", reason="bad_media_type", message=message
            )
    return invalid("bad_request", message)


def handle_exception(error: Exception, context: dict[str, Any]) -> JsonResponse | None:
    """Django REST framework's EXCEPTION_HANDLER. Its answer is no `Response`, which a page would show as HTML."""
    refusal = refusal_of(error)
    request: HttpRequest = context["request"]._request
    reason = refusal.reason if refusal else "internal_error"
    request.api_reason = reason  # type: ignore[attr-defined]  # for the usage log
    if refusal is None:
        return None
    set_rollback()
    return problem_response(request, refusal)
