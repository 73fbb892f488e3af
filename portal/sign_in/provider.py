"""The OpenID Connect client, where it checks more than django-allauth does.

allauth compares the id token's `iss`, `aud` and `exp`. It does not know the response's `iss` (RFC 9207), ignores the
token's `iat`, `azp` and `at_hash`, and needs a `userinfo_endpoint`, which OpenID Connect only recommends. The nonce is
sent by `portal.sign_in.views` and compared by `portal.sign_in.adapters`.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Any

import jwt
from allauth.socialaccount.models import SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.http import HttpRequest

LEEWAY = 60  # seconds by which the two clocks may differ
MOST_AGE = 600  # seconds, of an id token: the portal asks for it just before it arrives
BASIC, POST = "client_secret_basic", "client_secret_post"
ENDPOINTS = ("authorization_endpoint", "token_endpoint")


class ProviderError(OAuth2Error):  # type: ignore[misc]
    """The provider's response is not to be trusted. The message says why, for the person who signs in."""


class ProviderConnection(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]
    """One sign-in at the provider."""

    @property
    def openid_config(self) -> dict[str, Any]:
        """The provider's metadata (OpenID Connect Discovery). Raises ProviderError, RequestException."""
        metadata = super().openid_config
        if not isinstance(metadata, dict) or not all(
            isinstance(metadata.get(name), str) for name in ENDPOINTS
        ):
            raise ProviderError(
                f"The provider does not answer as OpenID Connect requires: it lacks one of {', '.join(ENDPOINTS)}."
            )
        return metadata

    @property
    def basic_auth(self) -> bool:
        """Whether the portal's secret goes in the header rather than in the body. Without a list in the metadata, the
        standard says the header; allauth would use the body."""
        methods = self.openid_config.get("token_endpoint_auth_methods_supported", [BASIC])
        if POST not in methods and BASIC not in methods:
            raise ProviderError(f"The provider supports neither {POST} nor {BASIC}.")
        return POST not in methods

    def get_access_token_data(
        self, request: HttpRequest, app: SocialApp, client: Any, pkce_code_verifier: str | None = None
    ) -> dict[str, Any]:
        check_response(request.GET, self.openid_config)
        tokens: dict[str, Any] = super().get_access_token_data(request, app, client, pkce_code_verifier)
        return tokens

    def complete_login(
        self, request: HttpRequest, app: SocialApp, token: SocialToken, **options: Any
    ) -> SocialLogin:
        id_token = options["response"].get("id_token")
        if not isinstance(id_token, str):
            raise ProviderError("The provider sent no id token.")
        claims = self._decode_id_token(app, id_token)
        check_claims(claims, client_id=app.client_id, now=time.time())
        check_access_token(claims, jwt.get_unverified_header(id_token)["alg"], token.token)
        data = {"id_token": claims}
        if self.openid_config.get("userinfo_endpoint"):
            data["userinfo"] = self._fetch_user_info(token.token)
        return self.get_provider().sociallogin_from_response(request, data)


def check_response(parameters: Mapping[str, str], metadata: Mapping[str, Any]) -> None:
    """RFC 9207: the response names its issuer, so that no other provider's can be passed off as this one's. Raises
    ProviderError."""
    issuer = parameters.get("iss")
    if issuer is None and metadata.get("authorization_response_iss_parameter_supported") is not True:
        return
    if issuer != metadata.get("issuer"):
        raise ProviderError("The response does not come from the provider that was asked.")


def check_claims(claims: Mapping[str, Any], *, client_id: str, now: float) -> None:
    """OpenID Connect Core 3.1.3.7, as far as allauth does not check it. `now`: seconds since 1970. Raises
    ProviderError."""
    issued = claims.get("iat")
    if isinstance(issued, bool) or not isinstance(issued, int | float):
        raise ProviderError("The id token does not say when it was issued.")
    if not now - MOST_AGE - LEEWAY <= issued <= now + LEEWAY:
        raise ProviderError("The id token is too old, or the clocks of provider and portal differ.")
    audience = claims.get("aud")
    azp = claims.get("azp", client_id if isinstance(audience, str) or len(audience or ()) == 1 else None)
    if azp != client_id:
        raise ProviderError("The id token was issued to another client.")


def check_access_token(claims: Mapping[str, Any], algorithm: str, access_token: str) -> None:
    """OpenID Connect Core 3.1.3.8: `at_hash`, where there is one, belongs to the access token. Raises ProviderError."""
    if "at_hash" not in claims:
        return
    name = "sha512" if algorithm == "EdDSA" else f"sha{algorithm[-3:]}"
    if name not in ("sha256", "sha384", "sha512"):
        raise ProviderError("The id token is signed with an unknown algorithm.")
    digest = hashlib.new(name, access_token.encode()).digest()
    wanted = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
    if not hmac.compare_digest(str(claims["at_hash"]).encode(), wanted.encode()):
        raise ProviderError("The access token does not belong to the id token.")
