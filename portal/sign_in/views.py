"""Replacements of the admin's own sign-in and sign-out, which know no second factors and count no attempts."""

import logging
from typing import cast

from allauth.account.views import logout
from allauth.account.views import password_reset as password_reset_by_mail
from allauth.socialaccount.providers.openid_connect.views import login as to_provider
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from requests import RequestException

__all__ = ["admin_login", "logout", "password_reset", "provider_login"]

logger = logging.getLogger(__name__)


@never_cache
def admin_login(request: HttpRequest) -> HttpResponse:
    """Redirect to the one sign-in page, which validates the next URL. Never reads a password itself."""
    if not request.user.is_authenticated:
        following = request.GET.get("next") or reverse("admin:index")
        return redirect(f"{reverse('account_login')}?{urlencode({'next': following})}")
    if not request.user.is_staff:
        raise PermissionDenied
    return redirect("admin:index")


def password_reset(request: HttpRequest) -> HttpResponseBase:
    """Reset a password by mail; without mail, advise to ask an admin for a new link."""
    if settings.SMTP_URL:
        return cast(HttpResponseBase, password_reset_by_mail(request))
    return render(request, "account/password_reset_by_admin.html")


def provider_login(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Redirect to the provider, whose endpoints are discovered; an error page if it does not respond correctly."""
    try:
        return cast(HttpResponseBase, to_provider(request, provider_id))
    except (RequestException, LookupError, ValueError) as error:
        logger.warning("provider_unreachable", extra={"error": type(error).__name__})
        reason = f"{settings.OIDC_NAME} does not answer. Try again later, or sign in with your password."
        return render(request, "socialaccount/authentication_error.html", {"reason": reason}, status=502)
