"""Sign-in with a real OpenID Connect provider, in a process of its own on loopback."""

import json
import re
import signal
import subprocess
import sys
import urllib.parse

import pytest
import requests
from django.contrib.sessions.backends.db import SessionStore

from portal.one_machine.ports import free_port
from tests.environment import WATCHDOG
from tests.portals import Portal, portal, wait_for

PEOPLE = {
    "sub-bob": {"email": "bob@example.com", "email_verified": True},
    "sub-unverified": {"email": "carol@example.com", "email_verified": False},
    "sub-says-so-in-text": {"email": "carol@example.com", "email_verified": "true"},
    "sub-silent": {"email": "carol@example.com"},
    "sub-shared": {"email": "shared@example.com", "email_verified": True},
    "sub-gone": {"email": "gone@example.com", "email_verified": True},
    "sub-dotless": {"email": "m\u0131ke@g\u0131thub.example", "email_verified": True},
    "sub-plain": {"email": "nick@github.example", "email_verified": True},
    "sub-preset": {},
    "sub-stranger": {"email": "eve@example.com", "email_verified": True, "preferred_username": "alice"},
    "sub-nobody": {"preferred_username": "root", "is_staff": True, "email": "bob@example.com"},
}
USERS = """
from keys.models import User
User.objects.create_superuser("alice", email="alice@example.com")
User.objects.create_user("bob", email="Bob@Example.com")
User.objects.create_user("carol", email="carol@example.com")
User.objects.create_user("dave", email="shared@example.com")
User.objects.create_user("dora", email="shared@example.com")
User.objects.create_user("gone", email="gone@example.com", is_active=False)
User.objects.create_user("paul")
User.objects.create_superuser("mike", email="mike@github.example")
User.objects.create_superuser("nick", email="n\u0131ck@github.example")
"""


@pytest.fixture(scope="module")
def provider():
    """The provider's address."""
    port = free_port()
    claims = [json.dumps({"sub": sub, **rest}) for sub, rest in PEOPLE.items()]
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port)]
    process = subprocess.Popen(
        [*command, *(word for each in claims for word in ("--user-claims", each))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    WATCHDOG.stop_group(process.pid, ((signal.SIGTERM, 2.0),))  # should this test run be killed
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return requests.get(f"{url}/.well-known/openid-configuration", timeout=2).ok
        except requests.ConnectionError:
            return False

    try:
        assert wait_for(answers)
        yield url
    finally:
        process.kill()
        process.wait()
        WATCHDOG.forget_group(process.pid)


def with_provider(echo_server, provider: str, **settings: str):
    return portal(
        mlflow_url=echo_server.url,
        OIDC_ISSUER=provider,
        OIDC_CLIENT_ID="portal",
        OIDC_CLIENT_SECRET="a secret of the client's",
        OIDC_NAME="Example SSO",
        **settings,
    )


@pytest.fixture(scope="module")
def closed(echo_server, provider):
    """A portal that lets in whom it knows."""
    with with_provider(echo_server, provider) as running:
        running.manage("shell", "-c", USERS)
        running.manage("link_identity", "--user", "paul", "--subject", "sub-preset")
        yield running


@pytest.fixture(scope="module")
def opened(echo_server, provider, closed):
    """A portal on the same database that makes users of those whom it does not know."""
    with with_provider(echo_server, provider, database=closed.database, OIDC_CREATE_USERS="true") as running:
        yield running


def arrive(running: Portal, sub: str, **query: str) -> tuple[requests.Session, requests.Response]:
    """As a browser: from the sign-in page to the provider, there as `sub`, and back."""
    browser = requests.Session()
    browser.headers["Accept"] = "text/html"
    page = browser.get(f"{running.url}/account/login/", params=query, timeout=20)
    link = re.search(r'href="(/account/login/provider/[^"]*)">Sign in with Example SSO', page.text)[1]
    asked = browser.get(running.url + link.replace("&amp;", "&"), timeout=20)
    parameters = urllib.parse.parse_qs(urllib.parse.urlsplit(asked.url).query)
    assert parameters["code_challenge_method"] == ["S256"]
    assert parameters["redirect_uri"] == [f"{running.url}/account/login/provider/callback/"]
    return browser, browser.post(asked.url, data={"sub": sub}, timeout=20)


def who(running: Portal, browser: requests.Session) -> str:
    """The name under which this browser is signed in; "" if it is not."""
    page = browser.get(f"{running.url}/account/2fa/", timeout=20)
    if "/account/login/" in page.url:
        return ""
    query = "select session_data from django_session where session_key = %s"
    [(data,)] = running.sql(query, browser.cookies["sessionid"])
    number = SessionStore().decode(data)["_auth_user_id"]
    [(name,)] = running.sql("select username from keys_user where id = %s", number)
    return name


def names(running: Portal) -> set[str]:
    return {row["username"] for row in running.rows("select username from keys_user")}


def test_a_verified_address_that_an_admin_gave_signs_in_as_that_user_and_links_it(closed):
    browser, answer = arrive(closed, "sub-bob", next="/docs/")

    assert urllib.parse.urlsplit(answer.url).path == "/docs/"
    assert who(closed, browser) == "bob"
    [row] = closed.rows("select uid from socialaccount_socialaccount where uid = 'sub-bob'")
    assert row

    closed.sql("update keys_user set email = '' where username = 'bob'")
    again, _ = arrive(closed, "sub-bob")
    assert who(closed, again) == "bob"


def test_a_subject_written_down_before_needs_no_address(closed):
    browser, _ = arrive(closed, "sub-preset")

    assert who(closed, browser) == "paul"


@pytest.mark.parametrize(
    ("sub", "words"),
    [
        ("sub-unverified", "no verified address"),
        ("sub-says-so-in-text", "no verified address"),
        ("sub-silent", "no verified address"),
        ("sub-dotless", "no verified address, of plain ASCII"),  # to PostgreSQL's upper() it is mike's
        ("sub-plain", "No user belongs"),  # nor is it nick's
        ("sub-shared", "More than one user"),
        ("sub-gone", "deactivated"),
        ("sub-stranger", "No user belongs"),
    ],
)
def test_any_other_identity_is_refused_and_nothing_is_made(closed, sub, words):
    before = names(closed), closed.sql("select count(*) from socialaccount_socialaccount")
    browser, answer = arrive(closed, sub)

    assert answer.status_code == 403
    assert words in answer.text
    assert who(closed, browser) == ""
    assert (names(closed), closed.sql("select count(*) from socialaccount_socialaccount")) == before


def test_who_is_signed_in_links_nothing(closed):
    """Else a page elsewhere could link its owner's identity to whoever follows it."""
    browser, _ = arrive(closed, "sub-preset")
    asked = browser.get(f"{closed.url}/account/login/provider/?process=connect", timeout=20)
    answer = browser.post(asked.url, data={"sub": "sub-stranger"}, timeout=20)

    assert answer.status_code == 403
    assert closed.sql("select count(*) from socialaccount_socialaccount where uid = 'sub-stranger'") == [(0,)]


def test_an_answer_that_was_not_asked_for_is_refused(closed):
    answer = requests.get(
        f"{closed.url}/account/login/provider/callback/?code=stolen&state=made-up", timeout=20
    )

    assert "You are not signed in" in answer.text


def test_with_creation_a_stranger_becomes_a_user_without_rights(opened):
    browser, _ = arrive(opened, "sub-stranger")

    name = who(opened, browser)
    [row] = opened.rows("select * from keys_user where username = %s", name)
    assert name not in ("", "alice")  # the name was taken
    assert (row["is_staff"], row["is_superuser"], row["email"]) == (False, False, "eve@example.com")
    assert row["password"].startswith("!")
    assert opened.sql("select count(*) from keys_apikey where owner_id = %s", row["id"]) == [(0,)]


def test_with_creation_an_unverified_address_is_not_kept_and_links_nothing(opened):
    browser, _ = arrive(opened, "sub-nobody")

    [row] = opened.rows("select * from keys_user where username = %s", who(opened, browser))
    assert (row["is_staff"], row["email"]) == (False, "")


def test_with_creation_an_address_like_anothers_is_not_kept_and_links_nothing(opened):
    browser, _ = arrive(opened, "sub-dotless")

    name = who(opened, browser)
    [row] = opened.rows("select * from keys_user where username = %s", name)
    assert name not in ("", "mike")
    assert (row["is_superuser"], row["email"]) == (False, "")
    assert opened.sql("select count(*) from account_emailaddress where email ilike 'bob%%'") == [(0,)]
