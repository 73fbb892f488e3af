"""Requests and responses of pages: the frame of the admin, form data, query values and the actor."""

from typing import Any, TypeVar

from django.conf import settings
from django.contrib import admin
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from keys.actions.actor import Actor, Via
from keys.credentials.addresses import client_address
from keys.models import ApiKey, User

Row = TypeVar("Row", bound=models.Model)


def render_page(
    request: HttpRequest, template: str, *, model: type[models.Model] = ApiKey, **context: Any
) -> HttpResponse:
    """A page of our own in the frame of Django's admin."""
    frame = {**admin.site.each_context(request), "opts": model._meta, "public_url": settings.PUBLIC_URL}
    return render(request, template, {**frame, **context})


def redirect_see_other(address: str) -> HttpResponse:
    """303, without a referrer: the address that was asked for may hold a secret."""
    response = redirect(address)
    response.status_code = 303
    response["Referrer-Policy"] = "no-referrer"
    return response


def actor_of(request: HttpRequest) -> Actor:
    user = request.user if isinstance(request.user, User) else None
    address = client_address(request.META, trusted_proxies=settings.TRUSTED_PROXIES)
    return Actor(user=user, address=address or None, via=Via.PAGE)


def posted_data(request: HttpRequest) -> Any:
    """The data of a form: None if the request is not a POST."""
    return request.POST if request.method == "POST" else None


def query_value(request: HttpRequest, name: str, default: str = "") -> str:
    """A value of the query string without NUL, which PostgreSQL rejects."""
    return request.GET.get(name, default).replace("\0", "")


def row_number(text: str) -> int | None:
    """A row's number from a URL, which users may have edited; None if it is not a number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def row_or_404(rows: "models.QuerySet[Row]", text: str) -> Row:
    """The row with the number in a URL. Raises Http404."""
    number = row_number(text)
    row = None if number is None else rows.filter(pk=number).first()
    if row is None:
        raise Http404
    return row
