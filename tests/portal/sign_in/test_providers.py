"""Several OpenID providers: whose addresses each verifies, and what its groups grant."""

import json

import pytest
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.models import SocialAccount, SocialLogin
from django.contrib.auth.models import AnonymousUser
from django.test import Client, RequestFactory

from keys.actions import organisations
from keys.directory.rules import add_rule
from keys.models import User
from keys.rights.roles import Role
from portal.environment import oidc_providers
from portal.sign_in.adapters import ProviderAdapter
from portal.sign_in.providers import find_provider, named_groups, providers, verifies

BY_EMAIL = "/account/login/provider/by-email/"
ACME = {
    "id": "acme",
    "issuer": "https://login.acme.example",
    "client_id": "portal",
    "client_secret": "s3cret",
}


@pytest.fixture
def two_providers(settings, monkeypatch):
    """One for all, and one of the organisation acme for addresses at acme.example."""
    settings.OIDC_ISSUER, settings.OIDC_CLIENT_ID = "https://login.example", "portal"
    given = [{**ACME, "name": "Acme SSO", "domains": ["Acme.example"], "organisation": "acme"}]
    monkeypatch.setenv("OIDC_PROVIDERS", json.dumps(given))
    settings.OIDC_PROVIDERS = oidc_providers("OIDC_PROVIDERS")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("[", "not JSON"),
        ('{"id": "a"}', "not a list"),
        ([{**ACME, "client": "x"}], "unknown field client"),
        ([{"id": "acme", "issuer": "https://login.acme.example"}], "lacks client_id"),
        ([{**ACME, "issuer": "http://login.acme.example"}], "needs https"),
        ([{**ACME, "id": "provider"}], "an id has"),
        ([{**ACME, "domains": "acme.example"}], "domains a list"),
        ([ACME, ACME], "same id"),
    ],
)
def test_a_wrong_list_stops_the_start_without_its_secrets(monkeypatch, given, problem):
    monkeypatch.setenv("OIDC_PROVIDERS", given if isinstance(given, str) else json.dumps(given))
    with pytest.raises(SystemExit, match=f"OIDC_PROVIDERS: .*{problem}") as stopped:
        oidc_providers("OIDC_PROVIDERS")
    assert "s3cret" not in str(stopped.value)


@pytest.mark.parametrize(
    ("provider", "email", "believed"),
    [
        ("acme", "dora@ACME.example", True),
        ("acme", "dora@other.example", False),
        ("provider", "dora@acme.example", False),
        ("provider", "dora@other.example", True),
        ("provider", "dora@sub.acme.example", True),
    ],
)
def test_a_domain_has_one_provider(two_providers, provider, email, believed):
    assert verifies(find_provider(provider), email) is believed


@pytest.mark.parametrize(
    ("claims", "groups"),
    [
        ({"userinfo": {"groups": ["a", 7]}, "id_token": {"groups": ["b"]}}, ["a"]),
        ({"userinfo": {}, "id_token": {"groups": "b"}}, ["b"]),
        ({"id_token": {"sub": "1"}}, []),
        ({"id_token": {"hasgroups": True}}, None),
        ({"id_token": {"_claim_names": {"groups": "src1"}}}, None),
    ],
)
def test_groups_are_read_from_either_set_of_claims(two_providers, claims, groups):
    assert named_groups(find_provider("provider"), claims) == groups


def login_at(provider: str, user: User | None, **claims) -> SocialLogin:
    given = {"sub": "1", "email_verified": True, **claims}
    account = SocialAccount(
        provider=provider, uid="1", extra_data={"userinfo": given, "id_token": {"sub": "1", "nonce": "n"}}
    )
    login = SocialLogin(user=user or User(), account=account)
    login.state = {"process": "login", "nonce": "n"}
    return login


@pytest.mark.django_db
def test_a_sign_in_applies_the_rules_of_its_provider(two_providers):
    acme = organisations.create_organisation(slug="acme")
    dora = User.objects.create_user("dora", email="dora@acme.example")
    add_rule(group="admins", role="key_admin")
    add_rule(group="admins", role="maintainer", organisation=acme, directory=acme)
    request = RequestFactory().get("/")
    request.user = AnonymousUser()

    ProviderAdapter().pre_social_login(request, login_at("acme", dora, groups=["admins"]))
    dora.refresh_from_db()
    assert (dora.role, dora.memberships.get().role) == (Role.HOLDER, "maintainer")

    ProviderAdapter().pre_social_login(request, login_at("acme", dora))
    assert not dora.memberships.exists()
    ProviderAdapter().pre_social_login(request, login_at("provider", dora, groups=["admins"]))
    dora.refresh_from_db()
    assert dora.role is Role.KEY_ADMIN


@pytest.mark.django_db
def test_no_provider_links_users_of_anothers_domain(two_providers):
    dora = User.objects.create_user("dora", email="dora@acme.example")
    with pytest.raises(ImmediateHttpResponse):
        ProviderAdapter().pre_social_login(
            RequestFactory().get("/"), login_at("provider", None, email=dora.email)
        )
    assert not SocialAccount.objects.exists()


@pytest.mark.django_db
def test_the_sign_in_page_has_a_button_for_each(two_providers, client):
    page = client.get("/account/login/").content.decode()

    assert [each.id for each in providers()] == ["provider", "acme"]
    assert "Sign in with Acme SSO (acme.example)" in page
    assert "/account/login/acme/" in page


@pytest.mark.django_db
def test_an_address_leads_to_the_provider_of_its_domain_whether_it_is_known_or_not(two_providers):
    User.objects.create_user("dora", email="dora@acme.example")
    User.objects.create_user("otto", email="otto@other.example")
    client = Client()
    assert 'name="email"' in client.get("/account/login/").content.decode()

    def sent(email: str):
        return client.post(BY_EMAIL, {"email": email, "next": "/mlflow/"})

    known, unknown = sent("dora@acme.example"), sent("nobody@ACME.example")
    assert known.content == unknown.content
    assert (
        'content="0; url=/account/login/acme/?process=login&amp;next=%2Fmlflow%2F"' in known.content.decode()
    )
    elsewhere = [sent(email) for email in ("otto@other.example", "nobody@other.example", "no address", "")]
    assert {each.url for each in elsewhere} == {"/account/login/?next=%2Fmlflow%2F"}
    page = client.get(elsewhere[0].url).content.decode()
    assert "No provider is set up for this address" in page
    assert page.count("Sign in with") == 3  # passkey and both providers
    assert client.get(BY_EMAIL).status_code == 405


@pytest.mark.django_db
def test_without_domains_no_address_is_asked_for(two_providers, settings):
    settings.OIDC_PROVIDERS = [{**each, "domains": ()} for each in settings.OIDC_PROVIDERS]
    assert 'name="email"' not in Client().get("/account/login/").content.decode()
