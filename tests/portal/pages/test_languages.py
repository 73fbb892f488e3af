"""Pages in the reader's language."""

import pytest
from django.test import Client
from django.utils import translation

from keys.models import User


@pytest.fixture
def client(db) -> Client:
    return Client(HTTP_ACCEPT_LANGUAGE="fr, de-AT;q=0.8, en;q=0.5")


def test_the_browser_decides(client):
    page = client.get("/account/login/").content.decode()

    assert '<html lang="de">' in page
    assert "Mit einem Passkey anmelden" in page
    assert ">Benutzername" in page  # of allauth's own catalogue


def test_a_choice_overrides_the_browser_and_stays(client):
    chosen = client.post("/account/language/", {"language": "ja", "next": "/account/login/"})
    page = client.get("/account/login/").content.decode()

    assert chosen.headers["Location"] == "/account/login/"
    assert (chosen.cookies["django_language"]["httponly"], chosen.cookies["django_language"]["samesite"]) == (
        True,
        "Lax",
    )
    assert '<html lang="ja">' in page
    assert "パスキーでサインイン" in page


def test_a_choice_leads_to_no_other_host_and_needs_a_token(db):
    client = Client(enforce_csrf_checks=True)
    refused = client.post("/account/language/", {"language": "ja"})
    page = client.get("/account/login/")
    form = {
        "language": "ja",
        "next": "https://evil.example/",
        "csrfmiddlewaretoken": page.context["csrf_token"],
    }
    led = client.post("/account/language/", {**form, "csrfmiddlewaretoken": str(page.context["csrf_token"])})

    assert refused.status_code == 403
    assert led.headers["Location"] == "/"


def test_what_is_english_only_stays_english(client):
    client.force_login(User.objects.create_superuser("root"))
    admin, docs = client.get("/admin/").content.decode(), client.get("/docs/").content.decode()
    problem = client.get("/api/v1/keys/none/").json()

    assert '<html lang="en-us"' in admin
    assert "Abmelden" not in admin
    assert '<html lang="en">' in docs
    assert "/account/language/" not in docs
    assert problem["title"].isascii()


def test_an_error_page_is_translated_and_the_same_error_for_a_program_is_not(client):
    client.force_login(User.objects.create_user("dora"))
    page = client.get("/account/keys/key_none/", headers={"accept": "text/html"})
    program = client.get("/account/keys/key_none/", headers={"accept": "application/json"})

    assert "Unter dieser Adresse gibt es nichts, was Ihnen gehört." in page.content.decode()
    assert program.json()["message"].startswith("There is nothing of yours at this address.")


def test_the_language_ends_with_the_page(client):
    client.get("/account/login/")

    assert translation.get_language() == "en-us"
