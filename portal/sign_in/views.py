"""The sign-in page, and replacements of the admin's own sign-in and sign-out, which know no second factors and count no
attempts."""

import secrets
from typing import Any, cast

from allauth.account.views import LoginView, logout
from allauth.account.views import password_reset as password_reset_by_mail
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST
from requests import RequestException

from portal.sign_in.adapters import render_failure
from portal.sign_in.forms import EmailForm
from portal.sign_in.provider import ProviderConnection, ProviderError
from portal.sign_in.providers import has_domains, provider_of_email

__all__ = [
    "admin_login",
    "logout",
    "password_reset",
    "provider_by_email",
    "provider_callback",
    "provider_login",
    "sign_in",
]

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


class SignIn(LoginView):  # type: ignore[misc]
    def get_context_data(self, **options: Any) -> dict[str, Any]:
        """With a field for the e-mail address, if providers have domains."""
        return {**super().get_context_data(**options), "email_form": EmailForm() if has_domains() else None}


sign_in = SignIn.as_view()


@never_cache
@require_POST
def provider_by_email(request: HttpRequest) -> HttpResponse:
    """Show a page that leads to the provider of the address's domain; for an unknown domain, offer all providers again.

    A redirect would not work: the content security policy does not let a form lead to another host."""
    form = EmailForm(request.POST)
    provider = provider_of_email(form.cleaned_data["email"]) if form.is_valid() else None
    following = {"next": request.POST["next"]} if request.POST.get("next") else {}
    if provider is None:
        messages.info(request, gettext("No provider is set up for this address. Choose how you sign in."))
        return redirect(f"{reverse('account_login')}?{urlencode(following)}")
    query = urlencode({"process": "login", **following})
    address = f"{reverse('openid_connect_login', args=[provider.id])}?{query}"
    return render(request, "account/to_provider.html", {"provider": provider, "address": address})


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
