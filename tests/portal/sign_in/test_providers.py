"""Several OpenID providers: whose addresses each verifies, and what its groups grant."""

import json

import pytest
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.models import SocialAccount, SocialLogin
from django.test import RequestFactory

from keys.actions import organisations
from keys.directory.rules import add_rule
from keys.models import User
from keys.rights.roles import Role
from portal.environment import oidc_providers
from portal.sign_in.adapters import ProviderAdapter
from portal.sign_in.providers import find_provider, named_groups, providers, verifies

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
