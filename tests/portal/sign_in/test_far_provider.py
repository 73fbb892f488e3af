"""Whatever the provider sends: a session for the right person, else a page in words."""

import json
import time
import urllib.parse

import pytest
from allauth.socialaccount.models import SocialAccount

from portal.sign_in import provider as checks
from tests.portal.sign_in.far_provider import SUBJECT, far_provider

pytestmark = pytest.mark.django_db
START, BACK = "/account/login/provider/", "/account/login/provider/callback/"


@pytest.fixture
def far(settings, django_user_model):
    bob = django_user_model.objects.create_user("bob")
    SocialAccount.objects.create(user=bob, provider="provider", uid=SUBJECT)
    with far_provider() as provider:
        settings.OIDC_ISSUER = provider.url
        settings.OIDC_CLIENT_ID, settings.OIDC_CLIENT_SECRET = "portal", "a secret"
        settings.OIDC_NAME = "Example SSO"
        yield provider


def arrive(client, far, **response: str):
    """Start, and come back with what the provider adds to its redirect."""
    sent = client.get(START, headers={"accept": "text/html"})
    asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(sent["Location"]).query))
    far.nonce = asked["nonce"]
    query = {"code": "c", "state": asked["state"], **response}
    return client.get(BACK, query, headers={"accept": "text/html"})


def is_signed_in(client) -> bool:
    return "_auth_user_id" in client.session


@pytest.mark.parametrize("metadata", [{}, {"userinfo_endpoint": None}])
def test_a_good_response_signs_in_also_without_user_information(client, far, metadata):
    far.metadata = metadata

    answer = arrive(client, far)

    assert (answer.status_code, is_signed_in(client)) == (302, True)


@pytest.mark.parametrize(
    ("claims", "status", "words"),
    [
        ({"nonce": None}, 403, "belongs to another sign-in"),
        ({"nonce": "anothers"}, 403, "belongs to another sign-in"),
        ({"iat": None}, 502, "does not say when it was issued"),
        ({"iat": int(time.time()) + 3600}, 502, "clocks of provider and portal differ"),
        ({"iat": 1_600_000_000}, 502, "too old"),
        ({"at_hash": "bm90IGl0cyBoYXNo"}, 502, "does not belong to the id token"),
        ({"aud": ["portal", "another"]}, 502, "issued to another client"),
        ({"azp": "another"}, 502, "issued to another client"),
        ({"iss": "https://evil.example"}, 502, "unexpected response"),
        ({"sub": "somebody-else"}, 403, "two different people"),
    ],
)
def test_a_wrong_id_token_is_refused_in_words(client, far, claims, status, words):
    far.claims = claims

    answer = arrive(client, far)

    assert (answer.status_code, is_signed_in(client)) == (status, False)
    assert words in answer.content.decode()


def test_the_response_names_its_issuer(client, far):
    assert (
        "does not come from the provider" in arrive(client, far, iss="https://evil.example").content.decode()
    )
    assert arrive(client, far, iss=far.url).status_code == 302
    client.logout()
    far.metadata = {"authorization_response_iss_parameter_supported": True}
    assert "does not come from the provider" in arrive(client, far).content.decode()
    assert len(far.posted) == 1  # a code from elsewhere is not sent to the provider


@pytest.mark.parametrize(
    ("path", "status", "body", "words"),
    [
        ("/token", 500, b"", "unexpected response"),
        ("/token", 200, b"[]", "unexpected response"),
        ("/token", 200, b'{"access_token": "a"}', "sent no id token"),
        ("/token", 401, b'{"error": "invalid_client"}', "refuses the portal&#x27;s client id or secret"),
        ("/userinfo", 503, b"", "does not answer"),
        ("/userinfo", 200, b"a.signed.jwt", "does not answer"),
        ("/userinfo", 200, b'["sub"]', "unexpected response"),
    ],
)
def test_any_failure_of_the_provider_is_a_page(client, far, path, status, body, words):
    far.answers[path] = (status, body)

    answer = arrive(client, far)

    assert (answer.status_code, answer["Content-Type"]) == (502, "text/html; charset=utf-8")
    assert words in answer.content.decode()
    assert not is_signed_in(client)


@pytest.mark.parametrize(
    ("supported", "in_header"),
    [
        (None, True),  # the standard's default
        (["client_secret_basic", "client_secret_post"], False),
        (["client_secret_basic"], True),
    ],
)
def test_the_client_authenticates_as_the_metadata_says(client, far, supported, in_header):
    far.metadata = {"token_endpoint_auth_methods_supported": supported}

    assert arrive(client, far).status_code == 302
    [(headers, body)] = far.posted
    assert ("Authorization" in headers, "client_secret" in body) == (in_header, not in_header)
    assert "code_verifier" in body


def test_a_provider_that_wants_another_method_is_said(client, far):
    far.metadata = {"token_endpoint_auth_methods_supported": ["private_key_jwt"]}

    answer = client.get(START)

    assert (answer.status_code, "neither client_secret_post" in answer.content.decode()) == (502, True)


def test_the_address_adds_no_parameters_to_the_question(client, far):
    sent = client.get(f"{START}?scope=admin&auth_params=nonce%3Dmine%26redirect_uri%3Dhttps://evil.example")

    query = urllib.parse.parse_qs(urllib.parse.urlsplit(sent["Location"]).query)
    assert query["nonce"] != ["mine"]
    assert query["redirect_uri"] == [f"http://testserver{BACK}"]
    assert set(query["scope"][0].split()) == {"openid", "profile", "email"}


@pytest.mark.parametrize(
    ("algorithm", "length"), [("RS256", 22), ("ES384", 32), ("PS512", 43), ("EdDSA", 43)]
)
def test_at_hash_follows_the_algorithm(algorithm, length):
    with pytest.raises(checks.ProviderError):
        checks.check_access_token({"at_hash": "A" * length}, algorithm, "token")
    with pytest.raises(checks.ProviderError, match="unknown algorithm"):
        checks.check_access_token({"at_hash": "A" * length}, "none", "token")
    assert checks.check_access_token({}, algorithm, "token") is None


def test_the_log_names_the_error_and_no_secret(client, far, caplog):
    far.answers["/token"] = (
        400,
        json.dumps({"error": "invalid_grant", "error_description": "s3cret"}).encode(),
    )

    arrive(client, far)

    [record] = [each for each in caplog.records if each.message == "provider_failed"]
    assert (record.error, record.oauth_error) == ("OAuth2Error", "invalid_grant")
    assert "s3cret" not in caplog.text
