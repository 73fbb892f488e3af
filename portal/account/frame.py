"""What every account page has in common."""

from typing import Any, cast

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from keys.models import User


def holder(request: HttpRequest) -> User:
    """Whose pages these are: `login_required` has seen to it that there is somebody."""
    return cast(User, request.user)


def page(request: HttpRequest, template: str, *, status: int = 200, **context: Any) -> HttpResponse:
    """One of the account pages. Never stored by browsers or proxies: some hold a secret, all are personal."""
    frame = {"public_url": settings.PUBLIC_URL, "self_service": settings.SELF_SERVICE}
    response = render(request, f"account/{template}", {**frame, **context}, status=status)
    response["Cache-Control"] = "no-store"
    return response


def number(text: str) -> int | None:
    """A row's number out of an address, which anybody may have changed."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
