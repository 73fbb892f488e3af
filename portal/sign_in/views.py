"""Replacements of the admin's own sign-in and sign-out, which know no second factors and count no attempts."""

import secrets
from typing import cast

from allauth.account.views import logout
from allauth.account.views import password_reset as password_reset_by_mail
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from requests import RequestException

from portal.sign_in.adapters import render_failure
from portal.sign_in.provider import ProviderConnection, ProviderError

__all__ = ["admin_login", "logout", "password_reset", "provider_callback", "provider_login"]

# What allauth raises for a response that it does not expect.
FAILURES = (ProviderError, RequestException, LookupError, ValueError, TypeError, AttributeError)


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
    """Redirect to the provider, whose endpoints are discovered; an error page if it does not respond correctly. The
    nonce ties the provider's id token to this sign-in."""
    try:
        provider = get_adapter(request).get_provider(request, provider_id)
        provider.oauth2_adapter_class = ProviderConnection
        options = provider.get_redirect_from_request_kwargs(request)
        nonce = secrets.token_urlsafe(24)
        options |= {"scope": provider.get_scope(), "auth_params": {"nonce": nonce}}  # none from the URL
        return cast(HttpResponseBase, provider.redirect(request, **options, nonce=nonce))
    except SocialApp.DoesNotExist:
        raise Http404 from None
    except FAILURES as error:
        return render_failure(request, error)


def provider_callback(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Sign in with the provider's response; an error page if the response is not correct."""
    try:
        view = OAuth2CallbackView.adapter_view(ProviderConnection(request, provider_id))
        return cast(HttpResponseBase, view(request))
    except SocialApp.DoesNotExist:
        raise Http404 from None
    except FAILURES as error:
        return render_failure(request, error)
