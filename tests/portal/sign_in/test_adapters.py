import re

import pytest
from allauth.account.models import EmailAddress
from django.test import Client

from keys import actions
from keys.models import User
from portal.http.requests import PortalRequest
from tests.browser.conftest import PASSWORD

pytestmark = pytest.mark.django_db
LOGIN = "/account/login/"


@pytest.fixture(autouse=True)
def _no_attempt_is_remembered():
    from django.core.cache import cache

    cache.clear()


@pytest.fixture
def alice(django_user_model):
    return django_user_model.objects.create_superuser("alice", password=PASSWORD)


@pytest.fixture
def bob(django_user_model):
    return django_user_model.objects.create_user("bob", password=PASSWORD)


def sign_in(client, *, login="bob", password=PASSWORD, **more):
    return client.post(LOGIN, {"login": login, "password": password, **more.pop("fields", {})}, **more)


def test_a_holder_signs_in_with_name_and_password(client, bob):
    reply = sign_in(client)

    assert (reply.status_code, reply["Location"]) == (302, "/")
    assert client.session["_auth_user_id"] == str(bob.pk)


def test_signing_in_gives_a_new_session_so_that_nobody_can_hand_over_his_own(client, bob):
    client.session["x"] = 1
    session = client.session
    session["planted"] = True
    session.save()
    before = client.cookies["sessionid"].value

    sign_in(client)

    assert client.cookies["sessionid"].value != before
    assert not Client(headers={"cookie": f"sessionid={before}"}).session.get("_auth_user_id")


@pytest.mark.parametrize(
    "following", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"]
)
def test_signing_in_leads_nowhere_else(client, bob, following):
    assert sign_in(client, fields={"next": following})["Location"] == "/"


def test_signing_in_leads_to_the_page_that_was_asked_for(client, bob):
    assert sign_in(client, fields={"next": "/docs/"})["Location"] == "/docs/"


@pytest.mark.parametrize("path", ["/admin/", "/admin/login/", "/admin/keys/apikey/"])
def test_the_admins_own_form_is_never_shown(client, path):
    reply = client.get(path, follow=True)

    assert reply.redirect_chain[-1][0].startswith(LOGIN)
    assert "next=%2Fadmin%2F" in reply.redirect_chain[-1][0]


@pytest.mark.parametrize("who", [None, "bob", "alice"])
def test_the_admins_own_form_takes_no_password(client, alice, bob, who):
    if who:
        client.force_login({"alice": alice, "bob": bob}[who])
    name_before = client.session.get("_auth_user_id")

    client.post("/admin/login/", {"username": "alice", "password": PASSWORD, "next": "/admin/"})

    assert client.session.get("_auth_user_id") == name_before


def test_a_holder_who_opens_the_admin_is_told_no_and_not_sent_round_in_circles(client, bob):
    client.force_login(bob)

    assert client.get("/admin/", follow=True).status_code == 403


def test_signing_out_is_a_post(client, bob):
    client.force_login(bob)

    assert client.get("/account/logout/").status_code == 200
    assert client.get("/admin/logout/").status_code == 200
    assert client.session.get("_auth_user_id")
    client.post("/account/logout/")
    assert not client.session.get("_auth_user_id")


def test_signing_in_and_out_from_another_site_is_refused(bob):
    client = Client(enforce_csrf_checks=True)

    assert sign_in(client).status_code == 403
    client.force_login(bob)
    assert client.post("/account/logout/").status_code == 403


def test_the_sessions_of_a_deactivated_user_end(client, bob):
    client.force_login(bob)
    assert client.get("/account/2fa/").status_code == 200

    bob.is_active = False
    bob.save()

    assert client.get("/account/2fa/").status_code == 302
    assert sign_in(client)["Location"] == "/account/inactive/"
    assert client.get("/account/2fa/").status_code == 302


def test_the_sessions_of_a_deactivated_user_do_not_come_back(client, bob):
    other = Client()
    other.force_login(User.objects.create_user("carol"))
    client.force_login(bob)
    actions.deactivate(user=bob)
    actions.reactivate(user=bob)

    assert client.get("/account/2fa/").status_code == 302
    assert other.get("/account/2fa/").status_code == 200


def test_a_new_password_ends_the_other_sessions(client, bob):
    other = Client()
    for each in (client, other):
        sign_in(each)

    new = "an entirely different phrase"
    client.post("/account/password/change/", {"oldpassword": PASSWORD, "password1": new, "password2": new})

    assert client.get("/account/2fa/").status_code == 200
    assert other.get("/account/2fa/").status_code == 302


def test_after_five_failures_even_the_right_password_waits(client, alice):
    for _ in range(5):
        assert "is wrong" in sign_in(client, login="alice", password="no").content.decode()

    # Neither another spelling, port, session nor address of the same network helps.
    again = sign_in(Client(), login="ALICE ", headers={"host": "127.0.0.1:99"}, REMOTE_ADDR="127.0.0.9")

    assert "Too many failed attempts" in again.content.decode()
    assert "_auth_user_id" not in client.session


def test_nobody_locks_an_account_out_from_everywhere(client, alice):
    for _ in range(5):
        sign_in(client, login="alice", password="no", REMOTE_ADDR="198.51.100.7")

    assert "Too many" in sign_in(client, login="alice", REMOTE_ADDR="198.51.100.7").content.decode()
    assert sign_in(Client(), login="alice", REMOTE_ADDR="192.0.2.9").status_code == 302


@pytest.mark.parametrize("host", ["127.0.0.1:9", "localhost"])
def test_a_mail_leads_to_the_public_url_whatever_host_the_request_names(
    client, bob, settings, mailoutbox, monkeypatch, host
):
    monkeypatch.setattr("django.test.client.WSGIRequest", PortalRequest)  # as portal.wsgi has it
    settings.PUBLIC_URL, settings.SMTP_URL = "https://registry.example", "smtp://127.0.0.1"
    bob.email = "bob@registry.example"
    bob.save()
    EmailAddress.objects.create(user=bob, email=bob.email, verified=True, primary=True)

    client.post("/account/password/reset/", {"email": bob.email}, headers={"host": host})

    [mail] = mailoutbox
    assert mail.subject.startswith("[registry.example]")
    assert re.findall(r"https?://[^/\s]+", mail.body) == ["https://registry.example"]
    assert host not in mail.body


@pytest.mark.parametrize("host", ["127.0.0.1:9", "localhost"])
def test_signing_in_leads_to_no_other_host_whatever_host_the_request_names(client, bob, host):
    reply = sign_in(client, fields={"next": f"http://{host}/elsewhere"}, headers={"host": host})

    assert reply["Location"] == "/"


def test_an_address_that_tries_many_names_is_stopped_whatever_it_says_of_itself(client, bob):
    for number in range(10):
        reply = sign_in(
            client, login=f"user{number}", password="no", headers={"x-forwarded-for": f"192.0.2.{number}"}
        )
        assert "is wrong" in reply.content.decode()

    assert "Too many failed attempts" in sign_in(client).content.decode()
    assert sign_in(Client(), REMOTE_ADDR="192.0.2.77").status_code == 302


def test_behind_a_proxy_the_callers_address_counts(client, bob, settings):
    settings.TRUSTED_PROXIES = 1
    for number in range(11):
        reply = sign_in(
            client,
            login=f"user{number}",
            password="no",
            headers={"x-forwarded-for": f"10.0.0.{number}, 198.51.100.7"},
        )

    assert "Too many failed attempts" in reply.content.decode()
    assert sign_in(client, headers={"x-forwarded-for": "198.51.100.8"}).status_code == 302


def test_too_many_requests_get_our_page(client):
    for _ in range(31):
        reply = client.post(LOGIN, {}, headers={"accept": "text/html"})

    assert reply.status_code == 429
    assert "Wait a minute" in reply.content.decode()


def test_nobody_signs_up(client, django_user_model):
    reply = client.post("/account/signup/", {"username": "eve", "password1": PASSWORD, "password2": PASSWORD})

    assert "By invitation" in reply.content.decode()
    assert not django_user_model.objects.exists()


def test_where_no_mail_is_sent_an_admin_helps_with_a_forgotten_password(client):
    assert "new sign-in link" in client.get("/account/password/reset/").content.decode()


@pytest.mark.parametrize("path", ["/account/email/", "/account/3rdparty/", "/account/3rdparty/signup/"])
def test_nobody_gives_himself_an_address_or_an_identity(client, bob, path):
    client.force_login(bob)

    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    "path",
    [LOGIN, "/account/2fa/", "/account/2fa/webauthn/add/", "/account/logout/", "/account/reauthenticate/"],
)
def test_no_page_holds_a_script_or_style_of_its_own(client, bob, path):
    if path != LOGIN:
        sign_in(client)
    page = client.get(path).content.decode()

    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
    for tag in re.findall(r"<script[^>]*>", page):
        assert "src=" in tag or 'type="application/json"' in tag


@pytest.mark.parametrize("issuer", ["http://127.0.0.1:9", "echo"])
def test_a_provider_that_is_away_or_answers_nonsense_is_said_on_a_page(client, settings, echo, issuer):
    settings.OIDC_ISSUER = echo.url if issuer == "echo" else issuer
    settings.OIDC_CLIENT_ID, settings.OIDC_CLIENT_SECRET = "portal", "secret"

    reply = client.get("/account/login/provider/")

    assert reply.status_code == 502
    assert "does not answer" in reply.content.decode()


def test_without_a_provider_there_is_no_way_to_one(client):
    assert "Sign in with single" not in client.get(LOGIN).content.decode()
    assert client.get("/account/login/provider/").status_code == 404
