"""The pages that issue and revoke a key."""

import threading
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.utils import timezone

from keys.models import ApiKey, KeyEvent, User
from keys.rights.scopes import Preset
from tests.keys.people import (
    ISSUE,
    KEYS,
    SECRET,
    USERS,
    everything_stored,
    filled,
    key_of,
    make_cast,
    page_of,
    queries,
    signed_in,
)


class TestIssuing:
    def test_says_that_there_is_no_test_registry(self, cast, bob):
        answer = bob.post(ISSUE, filled(bob, cast["dora"], environment="test"))

        assert "There is no test registry" in answer.content.decode()
        assert not ApiKey.objects.exists()

    def test_makes_the_key_that_the_form_says(self, cast, bob, settings):
        settings.MLFLOW_TEST_URL = "http://127.0.0.1:9"
        answers = filled(bob, cast["dora"], name="nightly", purpose="the cluster", environment="test")

        bob.post(ISSUE, answers, REMOTE_ADDR="192.0.2.7")

        key = ApiKey.objects.get()
        assert (key.owner, key.name, key.purpose) == (cast["dora"], "nightly", "the cluster")
        assert (key.environment, key.created_by) == ("test", cast["bob"])
        assert abs(key.expires_at - timezone.now() - timedelta(days=90)) < timedelta(minutes=1)
        event = key.events.get()
        assert (event.kind, event.actor, event.address) == ("issued", cast["bob"], "192.0.2.7")

    def test_makes_a_key_that_never_expires_if_asked(self, cast, alice):
        alice.post(ISSUE, filled(alice, cast["dora"], expires_in="never"))

        assert ApiKey.objects.get().expires_at is None

    @pytest.mark.parametrize("preset", Preset)
    def test_gives_the_scopes_of_the_preset_whatever_is_ticked(self, cast, bob, preset):
        bob.post(ISSUE, filled(bob, cast["dora"], preset=preset.value, scopes=["traces:read"]))

        assert ApiKey.objects.get().scopes == list(preset.scopes)

    def test_gives_single_scopes_and_every_limit(self, cast, bob):
        rights = {
            "preset": "single",
            "scopes": ["registry:write", "tracking:read"],
            "networks": "10.0.0.0/8\r\n2001:db8::/32, 192.0.2.1",
            "patterns": "fraud-*\r\n\r\n churn ",
            "any_owner": "on",
        }

        bob.post(ISSUE, filled(bob, cast["dora"], **rights))

        key = ApiKey.objects.get()
        assert key.scopes == ["tracking:read", "registry:write"]
        assert key.networks == ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1/32"]
        assert (key.patterns, key.any_owner) == (["fraud-*", "churn"], True)

    def test_makes_a_canary_and_says_where_to_lay_it(self, cast, bob):
        page = bob.post(ISSUE, filled(bob, cast["dora"], is_canary="on")).content.decode()

        key = ApiKey.objects.get()
        assert key.is_canary
        assert "A canary grants no access. Put it where only an intruder would look" in page
        assert SECRET.search(page)
        assert "MLFLOW_TRACKING_TOKEN" not in page
        assert "Canary: grants no access" in bob.get(KEYS).content.decode()
        detail = bob.get(f"{KEYS}{key.pk}/change/").content.decode()
        assert "refused as an unknown key" in detail
        assert "Canary: yes" in detail

    def test_makes_no_canary_unless_asked(self, cast, bob):
        bob.post(ISSUE, filled(bob, cast["dora"]))

        key = ApiKey.objects.get()
        assert not key.is_canary
        assert "anary" not in bob.get(KEYS).content.decode()
        assert "refused as an unknown key" not in bob.get(f"{KEYS}{key.pk}/change/").content.decode()

    def test_starts_as_a_contributor_without_limits(self, cast, bob):
        form = bob.get(ISSUE).context["form"]

        assert (form["preset"].value(), form["any_owner"].value()) == ("contributor", None)
        assert "Careful: such a key can change" in form["any_owner"].help_text

    def test_shows_the_secret_with_the_lines_that_connect_a_client(self, cast, alice, settings):
        settings.PUBLIC_URL = "https://registry.example"

        response = alice.post(ISSUE, filled(alice, cast["dora"]))

        page = response.content.decode()
        [secret] = set(SECRET.findall(page))
        assert f'<pre id="secret" data-secret>{secret}</pre>' in page
        assert "export MLFLOW_TRACKING_URI=https://registry.example/api/mlflow\n" in page
        assert f"export MLFLOW_TRACKING_TOKEN={secret}\n" in page
        assert "shown only once" in page

    def test_shows_the_secret_nowhere_but_in_that_answer(self, cast, alice):
        answers = filled(alice, cast["dora"])
        response = alice.post(ISSUE, answers)
        [secret] = set(SECRET.findall(response.content.decode()))
        key = ApiKey.objects.get()

        assert "no-store" in response["Cache-Control"]
        assert secret not in str(response.headers) + str(response.cookies) + str(alice.cookies)
        assert not list(response.wsgi_request._messages)
        for path in (
            ISSUE,
            KEYS,
            f"{KEYS}{key.pk}/change/",
            f"{KEYS}{key.pk}/history/",
            page_of(key, "revoke"),
            "/admin/",
        ):
            assert not SECRET.search(alice.get(path).content.decode()), path
        assert not SECRET.search(alice.post(ISSUE, answers).content.decode())
        assert secret not in everything_stored()
        assert not any(secret in str(session.get_decoded()) for session in Session.objects.all())
        assert not LogEntry.objects.exists()

    def test_sent_twice_issues_one_key_and_says_so(self, cast, alice):
        answers = filled(alice, cast["dora"])
        alice.post(ISSUE, answers)

        page = alice.post(ISSUE, answers).content.decode()

        assert ApiKey.objects.count() == 1
        assert KeyEvent.objects.count() == 1
        assert "This key was already issued" in page
        assert "The secret cannot be shown again." in page
        assert ApiKey.objects.get().public_id in page

    def test_with_another_form_issues_another_key(self, cast, alice):
        alice.post(ISSUE, filled(alice, cast["dora"]))
        alice.post(ISSUE, filled(alice, cast["dora"]))

        assert ApiKey.objects.count() == 2

    def test_leaves_the_person_signed_in_and_the_form_usable_after_an_error(self, cast, alice):
        answers = filled(alice, cast["dora"], name="", purpose="What was <typed>", expires_in="365")

        page = alice.post(ISSUE, answers).content.decode()

        assert ApiKey.objects.count() == 0
        assert "The form was not accepted." in page
        assert "This field is required." in page
        assert "What was &lt;typed&gt;" in page
        assert '<option value="365" selected>' in page
        assert f'<option value="{cast["dora"].pk}" selected>' in page
        assert answers["form_id"] in page
        alice.post(ISSUE, {**answers, "name": "now with a name"})
        assert ApiKey.objects.get().name == "now with a name"

    @pytest.mark.parametrize(
        "wrong",
        [
            {"owner": ""},
            {"owner": "0"},
            {"name": "   "},
            {"name": "x" * 101},
            {"name": "a\0b"},
            {"purpose": "x" * 501},
            {"environment": "prod"},
            {"expires_in": "1000000"},
            {"form_id": ""},
            {"preset": ""},
            {"preset": "single"},
            {"preset": "single", "scopes": "root"},
            {"networks": "here"},
            {"networks": "10.1.2.3/8"},
            {"patterns": "x" * 257},
        ],
    )
    def test_refuses_what_makes_no_key(self, cast, alice, wrong):
        response = alice.post(ISSUE, filled(alice, cast["dora"], **wrong))

        assert response.status_code == 200
        assert ApiKey.objects.count() == 0

    def test_offers_no_deactivated_owner(self, cast, alice):
        User.objects.filter(pk=cast["dora"].pk).update(is_active=False)

        alice.post(ISSUE, filled(alice, cast["dora"]))

        assert ApiKey.objects.count() == 0

    def test_needs_a_post_with_the_csrf_token(self, cast, alice):
        answers = filled(alice, cast["dora"])
        strict = signed_in(cast["alice"], enforce_csrf_checks=True)

        assert strict.post(ISSUE, answers).status_code == 403
        alice.get(ISSUE, answers)
        assert ApiKey.objects.count() == 0

    def test_keeps_the_secret_out_of_exception_pages(self, cast, alice, settings, monkeypatch):
        def broken(*arguments, **options):
            raise RuntimeError("a template is broken")

        answers = filled(alice, cast["dora"])
        settings.DEBUG = True
        monkeypatch.setattr("keys.pages.frame.render", broken)
        alice.raise_request_exception = False

        response = alice.post(ISSUE, answers)

        assert response.status_code == 500
        assert b"a template is broken" in response.content
        assert not SECRET.search(response.content.decode())

    def test_records_the_address_behind_our_own_proxies(self, cast, alice, settings):
        settings.TRUSTED_PROXIES = 1

        alice.post(ISSUE, filled(alice, cast["dora"]), HTTP_X_FORWARDED_FOR="203.0.113.9, 198.51.100.4")

        assert KeyEvent.objects.get().address == "198.51.100.4"


@pytest.mark.django_db(transaction=True)
def test_two_clicks_at_the_same_moment_issue_one_key():
    people = make_cast()
    client = signed_in(people["alice"])
    answers = filled(client, people["dora"])
    pages: list[str] = []
    start = threading.Barrier(4)

    def click() -> None:
        clicking = Client()
        clicking.cookies = client.cookies
        start.wait(10)
        try:
            pages.append(clicking.post(ISSUE, answers).content.decode())
        finally:
            connection.close()

    threads = [threading.Thread(target=click) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert ApiKey.objects.count() == 1
    assert sum(bool(SECRET.search(page)) for page in pages) == 1
    assert sum("was already issued" in page for page in pages) == 3


class TestRevoking:
    def test_takes_the_keys_name_and_records_who_and_why(self, cast, bob):
        key = key_of(cast["dora"])

        response = bob.post(
            page_of(key, "revoke"),
            {"confirmation": key.name, "reason": "laptop lost"},
            REMOTE_ADDR="192.0.2.7",
        )

        assert response["Location"] == f"{KEYS}{key.pk}/change/"
        assert "is revoked" in bob.get(response["Location"]).content.decode()
        key.refresh_from_db()
        assert key.state == "revoked"
        event = key.events.get(kind="revoked")
        assert (event.actor, event.address, event.detail["reason"]) == (
            cast["bob"],
            "192.0.2.7",
            "laptop lost",
        )

    def test_refuses_another_name_and_keeps_what_was_typed(self, cast, bob):
        key = key_of(cast["dora"])

        page = bob.post(page_of(key, "revoke"), {"confirmation": "laptop", "reason": "lost"}).content.decode()

        key.refresh_from_db()
        assert key.state == "active"
        assert "This is not the key&#x27;s name. Nothing was revoked." in page
        assert 'value="laptop"' in page
        assert 'value="lost"' in page

    def test_takes_the_name_as_a_page_shows_it(self, cast, bob):
        key = key_of(cast["dora"], name="two  spaces")

        bob.post(page_of(key, "revoke"), {"confirmation": " two spaces "})

        key.refresh_from_db()
        assert key.state == "revoked"

    def test_happens_once(self, cast, bob):
        key = key_of(cast["dora"])
        for _ in range(2):
            assert bob.post(page_of(key, "revoke"), {"confirmation": key.name}).status_code == 302

        assert key.events.filter(kind="revoked").count() == 1
        assert bob.get(page_of(key, "revoke")).status_code == 302

    def test_needs_a_post_with_the_csrf_token(self, cast, bob):
        key = key_of(cast["dora"])
        strict = signed_in(cast["bob"], enforce_csrf_checks=True)

        bob.get(page_of(key, "revoke"), {"confirmation": key.name})
        assert strict.post(page_of(key, "revoke"), {"confirmation": key.name}).status_code == 403

        key.refresh_from_db()
        assert key.state == "active"

    def test_of_a_key_that_is_none_is_not_found(self, alice):
        assert alice.get(f"{KEYS}999999/revoke/").status_code == 404


def test_owners_are_offered_escaped_and_the_chosen_one_stays_chosen(cast, bob):
    odd = User.objects.create(username="<b>&")
    User.objects.create(username="gone", is_active=False)

    page = bob.post(ISSUE, filled(bob, odd, name="")).content.decode()

    assert f'<option value="{odd.pk}" selected>&lt;b&gt;&amp;</option>' in page
    assert '<option value="">Choose the owner of the key</option>' in page
    assert ">gone<" not in page


def test_the_form_takes_as_many_queries_for_1000_users_as_for_10(cast, alice):
    counts = []
    for number in (10, 990):
        User.objects.bulk_create(User(username=f"user {number} {n}") for n in range(number))
        counts.append(queries(lambda: alice.get(ISSUE)))

    assert counts[0] == counts[1]


def test_a_users_page_leads_to_the_form_with_the_owner_chosen(cast, alice):
    dora = cast["dora"]
    address = f"{ISSUE}?owner={dora.pk}"

    assert f'href="{address}"' in alice.get(f"{USERS}{dora.pk}/change/").content.decode()
    assert f'<option value="{dora.pk}" selected' in alice.get(address).content.decode()
    assert alice.get(f"{ISSUE}?owner=nobody").status_code == 200
