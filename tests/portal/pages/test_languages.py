"""Pages in the reader's language."""

import datetime
import json

import pytest
from django import forms
from django.contrib.admin.models import LogEntry
from django.template import Context, Template
from django.test import Client
from django.utils import timezone, translation

from keys import actions
from keys.actions.actor import Actor, Via
from keys.lists.event_words import describe_event
from keys.models import KeyEvent, User


@pytest.fixture
def client(db) -> Client:
    return Client(HTTP_ACCEPT_LANGUAGE="fr, de-AT;q=0.8, en;q=0.5")


def test_the_browser_decides(client):
    page = client.get("/account/login/").content.decode()

    assert '<html lang="de">' in page
    assert "Mit einem Passkey anmelden" in page
    assert ">Benutzername" in page  # of allauth's own catalogue


def test_a_choice_overrides_the_browser_and_stays(client):
    chosen = client.post(
        "/account/language/", {"language": "ja"}, headers={"referer": "http://testserver/account/login/"}
    )
    page = client.get("/account/login/").content.decode()

    assert chosen.headers["Location"] == "http://testserver/account/login/"
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


def test_dates_numbers_and_relative_times_are_those_of_the_language():
    at = datetime.datetime(2026, 11, 23, 18, 5, 31, tzinfo=datetime.UTC)
    template = Template(
        "{% load moments words holder %}{{ at|format_time }}|{{ at|format_exact_time }}|{{ at|date }}|"
        "{{ ago|format_relative }}|{{ count|thousands }}|{{ size|size }}|{{ slow|milliseconds }}"
    )
    ago = timezone.now() - datetime.timedelta(hours=3)
    context = Context({"at": at, "ago": ago, "count": 1234567, "size": 1610612736, "slow": 12300.0})

    def shown(language: str) -> str:
        with translation.override(language):
            return template.render(context)

    english = "2026-11-23 18:05 UTC|2026-11-23 18:05:31 UTC|2026-11-23|3 hours ago|1,234,567|1.5 GiB|12.3 s"
    assert shown("en") == shown("en-us") == english
    assert shown("de") == (
        "23.11.2026, 18:05 UTC|23.11.2026, 18:05:31 UTC|23.11.2026|vor 3 Stunden|1.234.567|1,5 GiB|12,3 s"
    )
    assert shown("ja") == (
        "2026/11/23 18:05 UTC|2026/11/23 18:05:31 UTC|2026/11/23|3時間前|1,234,567|1.5 GiB|12.3 s"
    )


def test_an_event_writes_numbers_and_times_as_the_page_does():
    detail = {
        "monthly_requests": 5000,
        "monthly_bytes": 1610612736,
        "expires_at": "2026-12-05T14:30:00+00:00",
    }
    event = KeyEvent(kind=KeyEvent.Kind.ISSUED, detail=detail)

    with translation.override("de"):
        shown = Template("{% load holder %}{{ event|describe_event|join:'; ' }}").render(
            Context({"event": event})
        )

    assert describe_event(event) == [
        "Calls a month: 5,000",
        "Bytes a month: 1.5 GiB",
        "Expires: 2026-12-05 14:30 UTC",
    ]
    assert "5.000" in shown
    assert "1,5 GiB" in shown
    assert "05.12.2026, 14:30 UTC" in shown


def test_a_field_keeps_its_first_value_beside_it():
    """Otherwise a form takes each field for edited, and undoes what a colleague has changed meanwhile."""

    class NameForm(forms.Form):
        name = forms.CharField(initial="laptop", show_hidden_initial=True)

    shown = Template("{% load words %}{{ form.name|with_translated_options }}").render(
        Context({"form": NameForm()})
    )

    assert '<input type="hidden" name="initial-name" value="laptop"' in shown


def test_what_a_reader_of_another_language_does_is_stored_in_english(db):
    stored = {}
    for language in ("en", "ja"):
        user = User.objects.create_user(f"dora-{language}")
        key, _ = actions.issue(owner=user, name="laptop", actor=Actor(user=user, address=None, via=Via.PAGE))
        client = Client(HTTP_ACCEPT_LANGUAGE=language)
        client.force_login(user)
        request = {"preset": "full", "note": "for training"}
        assert client.post(f"/account/keys/{key.public_id}/request/scope/", request).status_code == 302
        revoke = {"confirmation": "laptop", "reason": "lost"}
        assert client.post(f"/account/keys/{key.public_id}/revoke/", revoke).status_code == 302
        page = client.get(f"/account/keys/{key.public_id}/").content.decode()
        files = [
            b"".join(client.get(f"/account/{name}/download.csv").streaming_content)
            for name in ("calls", "registrations", "usage")
        ]
        events = [(event.kind, event.detail, describe_event(event)) for event in key.events.order_by("pk")]
        logged = [entry.change_message for entry in LogEntry.objects.filter(user=user)]
        stored[language] = (json.dumps(events), logged, files)

    assert stored["ja"] == stored["en"]
    assert "権限の追加: フル" in page  # the event, which is stored in English
    assert stored["en"][0].isascii()
