"""Sign-in, where it differs from django-allauth's defaults.

Nobody signs up by himself: users are added or invited. An identity of the provider (OIDC) signs in as the user that
it is linked to; it is linked by its subject, written down before, or at its first visit by an e-mail that the
provider has verified and that an admin gave to exactly one user. No other identity gets in, unless
OIDC_CREATE_USERS: then as a new user without any right.
"""

import base64
import dataclasses
import hashlib
import hmac
import logging
import re
from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp, SocialLogin
from allauth.socialaccount.providers.base import AuthProcess
from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext, gettext_lazy
from requests import RequestException

from keys.credentials.addresses import client_address, network_of
from keys.directory.rules import record_claim
from keys.models import Organisation, User
from keys.pages.frame import actor_of
from portal.sign_in.provider import ProviderError
from portal.sign_in.providers import find_provider, named_groups, providers, verifies

logger = logging.getLogger(__name__)


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "username_password_mismatch": gettext_lazy("The username or the password is wrong."),
        "incorrect_password": gettext_lazy("The password is wrong."),
        "too_many_login_attempts": gettext_lazy(
            "Too many failed attempts. Wait five minutes, then try again."
        ),
        "rate_limited": gettext_lazy("Too many attempts. Wait a minute, then try again."),
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        """The same address as in the usage log: no header of the caller's own buys more attempts."""
        return client_address(request.META, trusted_proxies=settings.TRUSTED_PROXIES) or "unknown"

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        """Counts wrong passwords by the caller's network and the user name together.

        Nobody can lock an account out from everywhere. allauth's own key contains the `Host` header, so that each
        port in it would buy five more attempts.
        """
        network = network_of(self.get_client_ip(request)) or "unknown"
        return f"{network} {str(credentials.get('username', '')).strip().lower()}"

    def is_safe_url(self, url: str) -> bool:
        """Accepts paths and URLs below PUBLIC_URL, but no other host, whatever the `Host` header says."""
        public = urlsplit(settings.PUBLIC_URL)
        return url_has_allowed_host_and_scheme(
            url, allowed_hosts={public.netloc}, require_https=public.scheme == "https"
        )

    def format_email_subject(self, subject: str) -> str:
        return f"[{PublicSite().name}] {subject}"

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        super().send_mail(template_prefix, email, {**context, "current_site": PublicSite()})


class PublicSite:
    """The site as mails name it: the host of PUBLIC_URL, not the `Host` header of the request that causes the mail."""

    @property
    def domain(self) -> str:
        return urlsplit(settings.PUBLIC_URL).netloc

    name = domain


class MfaAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Encrypts the secrets of second factors under the peppers, so that a database dump does not reveal them."""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": gettext_lazy("The code is wrong, or too old."),
    }

    def get_totp_issuer(self) -> str:
        return f"Hokusai Registry ({self._get_site_name()})"

    def encrypt(self, text: str) -> str:
        return cipher().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return cipher().decrypt(encrypted_text.encode()).decode()


def cipher() -> MultiFernet:
    """Encrypts under the newest pepper, decrypts under any configured pepper."""
    keys = [hashlib.sha256(b"second factors:" + pepper.encode()).digest() for pepper in settings.KEY_PEPPERS]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])


class ProviderAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    def list_apps(
        self, request: HttpRequest, provider: str | None = None, client_id: str | None = None
    ) -> list[SocialApp]:
        """The providers from the settings, if any; allauth's table of providers stays empty."""
        return [
            SocialApp(
                provider="openid_connect",
                provider_id=each.id,
                name=each.label,
                client_id=each.client_id,
                secret=each.client_secret,
                settings={"server_url": each.issuer, "oauth_pkce_enabled": True},
            )
            for each in providers()
            if provider in (None, "openid_connect", each.id) and client_id in (None, each.client_id)
        ]

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,
        error: Any = None,
        exception: Exception | None = None,
        extra_context: dict[str, Any] | None = None,
    ) -> None:
        """Show what went wrong at the provider. Raises ImmediateHttpResponse."""
        if exception is not None:
            raise ImmediateHttpResponse(render_failure(request, exception))

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Link a new identity to its user, or refuse it. Raises ImmediateHttpResponse."""
        if sociallogin.state.get("process") != AuthProcess.LOGIN:
            # Linking to the user who is signed in would let a malicious page connect an attacker's identity to them.
            raise render_refusal(request, gettext("Identities are linked at sign-in or by an admin."))
        claims = sociallogin.account.extra_data
        if not belongs_to(claims, sociallogin.state):
            raise render_refusal(
                request, gettext("The provider's response belongs to another sign-in. Start again.")
            )
        if not is_of_one_person(claims):
            raise render_refusal(request, gettext("The provider's answers are about two different people."))
        if sociallogin.is_existing:
            record_groups(request, sociallogin)
            return
        email = trusted_email(sociallogin)
        users = of_address(email)
        if len(users) == 1:
            if not users[0].is_active:
                raise render_refusal(request, gettext("This user is deactivated."))
            sociallogin.connect(request, users[0])
            record_groups(request, sociallogin)
            return
        if users:
            raise render_refusal(
                request, gettext("More than one user has this e-mail address. Ask an admin to link yours.")
            )
        if not settings.OIDC_CREATE_USERS:
            text = gettext("No user belongs to this identity. Ask an admin to invite you.")
            if not email:
                text = gettext(
                    "No user belongs to this identity. %(provider)s gave no verified address, of plain ASCII, to know "
                    "you by. Ask an admin to invite you."
                )
            raise render_refusal(request, text % {"provider": provider_name(request)})

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        return settings.OIDC_CREATE_USERS

    def populate_user(self, request: HttpRequest, sociallogin: SocialLogin, data: dict[str, Any]) -> User:
        """A new user gets the e-mail address only if it is verified, because it can reset a password or link an
        identity."""
        email = trusted_email(sociallogin)
        sociallogin.email_addresses = [each for each in sociallogin.email_addresses if each.email == email]
        user: User = super().populate_user(request, sociallogin, {**data, "email": email})
        user.is_staff = user.is_superuser = False
        return user

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> User:
        user: User = super().save_user(request, sociallogin, form)
        record_groups(request, sociallogin)
        return user


def trusted_email(sociallogin: SocialLogin) -> str:
    """The verified address, if this provider is the one for its domain; otherwise ""."""
    email = verified_email(sociallogin.account.extra_data)
    provider = find_provider(sociallogin.account.provider)
    return email if provider is not None and verifies(provider, email) else ""


def record_groups(request: HttpRequest, sociallogin: SocialLogin) -> None:
    """Give and take the roles of the groups that the provider names."""
    provider, user = find_provider(sociallogin.account.provider), sociallogin.user
    if provider is None or not user.is_active:
        return
    groups = named_groups(provider, sociallogin.account.extra_data)
    directory = Organisation.objects.open().filter(slug=provider.organisation).first()
    if groups is None or directory is None:
        logger.warning("groups_not_applied", extra={"provider": provider.id})
        return
    if groups or user.claimed_groups.filter(provider=provider.id).exists():
        actor = dataclasses.replace(actor_of(request), user=user)
        record_claim(user=user, provider=provider.id, directory=directory, groups=groups, actor=actor)


def provider_name(request: HttpRequest) -> str:
    """That of the address which the request is for."""
    provider_id = request.resolver_match.kwargs.get("provider_id", "") if request.resolver_match else ""
    provider = find_provider(provider_id)
    return provider.name if provider else settings.OIDC_NAME


def belongs_to(claims: dict[str, Any], state: dict[str, Any]) -> bool:
    """OpenID Connect Core 3.1.3.7: the id token has the nonce that this sign-in sent."""
    sent, received = state.get("nonce"), claims.get("id_token", {}).get("nonce")
    return bool(sent) and hmac.compare_digest(str(sent).encode(), str(received).encode())


def render_failure(request: HttpRequest, error: Exception) -> HttpResponse:
    """The page that says that the provider failed. The log names the kind of error."""
    code = re.search(r'"error"\s*:\s*"([a-z_]{1,40})"', str(error))  # of a token endpoint, RFC 6749
    kind = type(error).__name__
    logger.warning("provider_failed", extra={"error": kind, "oauth_error": code[1] if code else ""})
    if isinstance(error, ProviderError):
        reason = f"{error} {gettext('Tell your administrator.')}"
    elif isinstance(error, RequestException):
        reason = gettext("%(provider)s does not answer. Try again later, or sign in with your password.")
    elif code and code[1] in ("invalid_client", "unauthorized_client"):
        reason = gettext("%(provider)s refuses the portal's client id or secret. Tell your administrator.")
    else:
        reason = gettext(
            "%(provider)s sent an unexpected response. Try again, or sign in with your password."
        )
    if not isinstance(error, ProviderError):
        reason %= {"provider": provider_name(request)}
    return render(request, "socialaccount/authentication_error.html", {"reason": reason}, status=502)


def render_refusal(request: HttpRequest, reason: str) -> ImmediateHttpResponse:
    page: HttpResponseBase = render(
        request, "socialaccount/authentication_error.html", {"reason": reason}, status=403
    )
    return ImmediateHttpResponse(page)


def of_claims(claims: dict[str, Any]) -> dict[str, Any]:
    """The claims that allauth uses: the provider's user information, otherwise those of the id token."""
    return claims.get("userinfo") or claims.get("id_token") or {}


def is_of_one_person(claims: dict[str, Any]) -> bool:
    """OpenID Connect Core 5.3.2: the user information counts only if its subject is the id token's."""
    subjects = {claims[name].get("sub") for name in ("userinfo", "id_token") if claims.get(name)}
    return len(subjects) == 1 and None not in subjects


def verified_email(claims: dict[str, Any]) -> str:
    """The e-mail address if the provider explicitly says that it is verified; otherwise "".

    Nor one beyond ASCII: somebody else's looks the same, to people as to a database.
    """
    given = of_claims(claims)
    email = given.get("email")
    if not isinstance(email, str) or given.get("email_verified") is not True:
        return ""
    return email if email.isascii() else ""


def of_address(email: str) -> list[User]:
    """The users with this ASCII address. PostgreSQL preselects them, but its upper('ı') is 'I', so compare again."""
    if not email:
        return []
    candidates = User.objects.filter(email__iexact=email)
    return [user for user in candidates if user.email.isascii() and user.email.lower() == email.lower()]
