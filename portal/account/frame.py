"""Functions that all account pages share."""

from typing import Any, cast

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from keys.models import User


def holder(request: HttpRequest) -> User:
    """The signed-in user, whose pages these are. Only for views with `login_required`."""
    return cast(User, request.user)


def page(request: HttpRequest, template: str, *, status: int = 200, **context: Any) -> HttpResponse:
    """Render an account page."""
    frame = {"public_url": settings.PUBLIC_URL, "self_service": settings.SELF_SERVICE}
    return render(request, f"account/{template}", {**frame, **context}, status=status)
