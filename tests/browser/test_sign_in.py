"""Signing in with second factors and passkeys, and what staff see who lack one."""

import json
import re
import time

import pytest
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from playwright.sync_api import expect

from tests.browser.conftest import PASSWORD, Visit
from tests.echo import Script
from tests.portals import portal

ACME = {"id": "acme", "client_id": "portal", "client_secret": "secret", "domains": ["acme.example"]}
PEOPLE = f"""
from keys.models import User
for name in ("alice", "anna"):
    User.objects.create_superuser(name, password="{PASSWORD}")
for name in ("bob", "ben"):
    User.objects.create_user(name, password="{PASSWORD}")
"""


@pytest.fixture(scope="module")
def strict_portal(echo_server):
    """A portal whose staff need a second factor."""
    with portal(
        mlflow_url=echo_server.url, REQUIRE_MFA_FOR_STAFF="true", ALLOWED_HOSTS="localhost,127.0.0.1"
    ) as running:
        running.manage("shell", "-c", PEOPLE)
        yield running


@pytest.fixture
def window(new_context, strict_portal):
    """Opens windows at http://localhost, where browsers give passkeys. Nothing may go wrong in them."""
    visits: list[Visit] = []

    def open_window(**options) -> Visit:
        context = new_context(**options)
        visits.append(Visit(context.new_page(), strict_portal, "localhost"))
        return visits[-1]

    yield open_window
    for opened in visits:
        opened.page.context.close()
    assert [url for opened in visits for url in opened.foreign] == []
    assert [error for opened in visits for error in opened.errors] == []


def sign_in(visit: Visit, name: str, *, path: str = "/account/login/") -> None:
    visit.goto(path)
    visit.page.get_by_label("Username").fill(name)
    visit.page.get_by_label("Password").fill(PASSWORD)
    visit.follow("Sign in", role="button")


def confirm(visit: Visit) -> None:
    """Where allauth asks for the password again before it changes second factors."""
    if "/reauthenticate/" in visit.page.url:
        visit.page.get_by_label("Password").fill(PASSWORD)
        visit.follow("Confirm", role="button")


def code(secret: str, *, later: int = 0) -> str:
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30 + later))


def authenticator(visit: Visit) -> None:
    """A virtual one, as a phone or laptop has it: it verifies its user and keeps passkeys."""
    session = visit.page.context.new_cdp_session(visit.page)
    session.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True}
    options |= {"hasUserVerification": True, "isUserVerified": True, "automaticPresenceSimulation": True}
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def test_staff_set_up_an_app_before_any_admin_page_and_are_asked_for_its_code_ever_after(
    window, strict_portal
):
    first = window()
    sign_in(first, "alice", path="/admin/")
    expect(first.page.get_by_text("Staff users need a second factor")).to_be_visible()
    for path in ("/admin/keys/apikey/", "/account/", "/admin/keys/user/add/"):
        first.goto(path)
        assert "/account/2fa/" in first.page.url
    answer = first.page.request.get(f"{first.origin}/api/v1/keys", headers={"Accept": "application/json"})
    assert (answer.status, "second factor" in answer.text()) == (403, True)

    first.goto("/account/2fa/")
    first.follow("Set up")
    confirm(first)
    secret = first.page.locator("#authenticator_secret").inner_text()
    first.page.locator("input[name=code]").fill(code(secret))
    first.follow("Activate", role="button")
    expect(first.page.get_by_label("Unused codes")).to_be_visible()
    expect(first.page.get_by_role("button", name="Copy")).to_be_visible()
    first.page.get_by_label("I have saved").check()
    first.follow("Back to Security")
    assert first.page.url == f"{first.origin}/account/2fa/"
    first.goto("/admin/")
    expect(first.page).to_have_url(f"{first.origin}/admin/")

    [(stored,)] = strict_portal.sql("select data->>'secret' from mfa_authenticator where type = 'totp'")
    assert secret not in stored

    second = window()
    sign_in(second, "alice", path="/admin/")
    assert "/account/2fa/authenticate/" in second.page.url
    second.goto("/admin/")
    assert "/account/2fa/authenticate/" in second.page.url  # the password alone opens nothing
    second.page.locator("input[name=code]").fill("000000")
    second.follow("Sign In", role="button")
    expect(second.page.get_by_text("The code is wrong")).to_be_visible()
    second.page.locator("input[name=code]").fill(code(secret, later=1))
    second.follow("Sign In", role="button")
    second.goto("/admin/")
    expect(second.page).to_have_url(f"{second.origin}/admin/")


def test_a_holder_needs_no_second_factor(window):
    visit = window()
    sign_in(visit, "bob")

    visit.goto("/account/")
    assert visit.page.url == f"{visit.origin}/account/"


def test_a_passkey_is_added_and_signs_in_by_itself(window):
    visit = window()
    authenticator(visit)
    sign_in(visit, "anna", path="/admin/")
    visit.goto("/account/2fa/")
    visit.follow("Add")
    confirm(visit)
    visit.page.get_by_label("Name").fill("laptop")
    visit.page.get_by_label("Passwordless").check()
    visit.follow("Add", role="button")
    visit.goto("/account/2fa/webauthn/")
    expect(visit.page.get_by_text("laptop")).to_be_visible()
    expect(visit.page.get_by_text("Passkey", exact=True)).to_be_visible()
    visit.follow("Sign out", role="button")

    visit.goto("/admin/")
    visit.page.get_by_role("button", name="Sign in with a passkey").click()
    visit.page.wait_for_url(f"{visit.origin}/admin/")

    visit.goto("/account/")
    visit.follow("Sign out", role="button")
    visit.goto("/mlflow/#/models/churn")  # no server sees what stands behind the hash
    visit.page.get_by_role("button", name="Sign in with a passkey").click()
    visit.page.wait_for_url(f"{visit.origin}/mlflow/#/models/churn")


def test_a_passkey_that_is_not_there_is_said_on_the_page(window):
    visit = window()
    authenticator(visit)
    visit.goto("/account/login/")
    visit.page.get_by_role("button", name="Sign in with a passkey").click()

    expect(visit.page.get_by_role("alert")).to_contain_text("passkey")


ENDPOINTS = ("authorization", "token", "userinfo")
PAGES = [
    "/account/login/",
    "/account/password/reset/",
    "/account/signup/",
    "/account/2fa/",
    "/account/2fa/webauthn/",
    "/account/2fa/webauthn/add/",
    "/account/2fa/totp/activate/",
    "/account/password/change/",
    "/account/logout/",
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_for_axe_and_nothing_scrolls_sideways(window, scheme):
    visit, wrong = window(color_scheme=scheme, viewport={"width": 390, "height": 800}), []
    for path in PAGES:
        if path == "/account/2fa/":
            sign_in(visit, "ben")
        visit.goto(path)
        confirm(visit)
        assert re.search(path, visit.page.url), visit.page.url
        wrong += [(path, *found) for found in visit.findings(colours_only=scheme == "dark")]
        if visit.scrolls_sideways():
            wrong.append((path, "scrolls sideways", []))

    assert wrong == []


def test_the_way_to_a_provider_is_open_for_the_policy_and_nothing_else_is(new_context, echo_server):
    """The provider's page stands at another origin, which our form-action would not let a form lead to."""
    with portal(
        mlflow_url=echo_server.url,
        OIDC_ISSUER=echo_server.url,
        OIDC_CLIENT_ID="portal",
        OIDC_CLIENT_SECRET="secret",
        OIDC_PROVIDERS=json.dumps([ACME | {"issuer": echo_server.url}]),
    ) as running:
        echo_server.script = Script(
            headers=[("Content-Type", "application/json")],
            body=json.dumps({f"{name}_endpoint": f"{echo_server.url}/{name}" for name in ENDPOINTS}).encode(),
        )
        try:
            visit = Visit(new_context().new_page(), running)
            visit.goto("/account/login/?next=/mlflow/#/models/churn")
            link = visit.page.get_by_role("link", name="Sign in with single sign-on")
            expect(link).to_have_attribute("href", re.compile("next=%2Fmlflow%2F%23%2Fmodels%2Fchurn"))
            with visit.page.expect_navigation():
                link.click()
            assert visit.page.url.startswith(f"{echo_server.url}/authorization?")
            assert visit.errors == []
            plain = new_context(java_script_enabled=False).new_page()
            plain.goto(f"{running.url}/account/login/")
            plain.get_by_label("E-mail address").fill("dora@acme.example")
            plain.get_by_role("button", name="Continue with this address").click()
            plain.wait_for_url(f"{echo_server.url}/authorization?**login%2Facme%2Fcallback**")
            plain.context.close()
        finally:
            echo_server.reset()
            visit.page.context.close()
