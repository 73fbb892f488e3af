"""The front page, and the errors that no other view answers."""

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from keys.refusals import Refusal
from proxy.answers import ERROR_CODES, refuse


def home(request: HttpRequest) -> HttpResponse:
    """What this is and how to connect; who is signed in goes on to the account page."""
    if request.user.is_authenticated:
        return redirect("account")
    return render(request, "home.html", {"public_url": settings.PUBLIC_URL})


def gone(request: HttpRequest) -> HttpResponse:
    raise Http404


def error(request: HttpRequest, status: int, reason: str, message: str) -> HttpResponse:
    error_code = ERROR_CODES.get(status, "INTERNAL_ERROR")
    return refuse(request, Refusal(status=status, error_code=error_code, reason=reason, message=message))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error(
        request, 400, "bad_request", "The request cannot be read. See the address and its host name."
    )


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error(request, 403, "forbidden", "You may not do this here.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error(
        request,
        404,
        "not_found",
        "There is nothing at this address. MLflow's tracking URI is this host followed by /api/mlflow.",
    )


def server_error(request: HttpRequest) -> HttpResponse:
    return error(
        request, 500, "internal_error", "The portal failed. Tell your administrator the request id below."
    )
