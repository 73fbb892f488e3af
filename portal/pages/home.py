"""The front page, and the error pages for requests that no other view handles."""

import logging
import sys

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.utils.translation import gettext_noop

from keys.credentials.tokens import hide
from keys.refusals import Refusal, unavailable
from proxy.answers import ERROR_CODES, refuse, sent_address
from proxy.usage.recording import keep_refusal

logger = logging.getLogger(__name__)

HOST_ADVICE = (
    "If callers use this host, add it to ALLOWED_HOSTS; otherwise let your proxy pass the Host header."
)


def icon(request: HttpRequest) -> HttpResponse:
    """The URL where browsers look for an icon on responses that are not our pages."""
    return redirect(static("portal/icon.svg"))


def home(request: HttpRequest) -> HttpResponse:
    """What the portal is and how to connect. Signed-in users are redirected to the account page."""
    if request.user.is_authenticated:
        return redirect("account")
    return render(request, "home.html", {"public_url": settings.PUBLIC_URL})


def gone(request: HttpRequest) -> HttpResponse:
    raise Http404


def error(request: HttpRequest, status: int, reason: str, message: str) -> HttpResponse:
    error_code = ERROR_CODES.get(status, "INTERNAL_ERROR")
    return refuse(request, Refusal(status=status, error_code=error_code, reason=reason, message=message))


def address_error(request: HttpRequest, status: int, reason: str, message: str) -> HttpResponse:
    """The response to a request that went to a wrong address. It can be looked up for an hour."""
    error_code = ERROR_CODES[status]
    refusal = Refusal(status=status, error_code=error_code, reason=reason, message=message)
    keep_refusal(request, refusal)
    return refuse(request, refusal)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, DisallowedHost):
        host = hide(request.META.get("HTTP_HOST", ""))[:200]
        logger.warning(
            "host_refused", extra={"host": host, "setting": "ALLOWED_HOSTS", "advice": HOST_ADVICE}
        )
        named = f"names the host “{host}”, which is not this portal's" if host else "names no host"
        message = f"The request {named}. The tracking URI is {settings.PUBLIC_URL}/api/mlflow."
        return address_error(request, 400, "bad_request", message)
    return error(
        request,
        400,
        "bad_request",
        gettext_noop("The request cannot be read. See the address and its host name."),
    )


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """The response to a form whose CSRF token does not match the session (CSRF_FAILURE_VIEW)."""
    return error(
        request,
        403,
        "form_expired",
        gettext_noop(
            "The form was not sent: it lay open too long, or the browser keeps no cookies of this address. Nothing was "
            "changed. Go back, reload the page and send it again."
        ),
    )


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error(
        request,
        403,
        "forbidden",
        gettext_noop("You may not do this here. Ask a superuser of this portal for the right."),
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith("/account/"):
        return error(request, 404, "not_found", gettext_noop("There is nothing of yours at this address."))
    message = f"There is nothing at {sent_address(request)}. MLflow's tracking URI is {settings.PUBLIC_URL}/api/mlflow."
    if request.path.startswith("/admin/"):
        return error(request, 404, "not_found", message)
    return address_error(request, 404, "not_found", message)


def too_many_attempts(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """The response to too many sign-in attempts (django-allauth's `handler429`)."""
    return error(
        request,
        429,
        "too_many_attempts",
        gettext_noop("Too many attempts from your address. Wait a minute, then try again."),
    )


def server_error(request: HttpRequest) -> HttpResponse:
    """Django calls this while it handles the exception. An unavailable database is a 503, not a fault of the portal."""
    if isinstance(sys.exc_info()[1], OperationalError | InterfaceError):
        return refuse(
            request,
            unavailable(
                "database_unavailable",
                gettext_noop(
                    "The portal cannot reach its database just now, and this page needs it. Reload it in a few seconds."
                ),
            ),
        )
    return error(
        request,
        500,
        "internal_error",
        gettext_noop("The portal failed. Tell your administrator the request id below."),
    )
