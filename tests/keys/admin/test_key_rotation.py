"""The page that rotates a key: it shows the new secret once, and nothing else keeps it."""

import re

import pytest
from django.contrib.sessions.models import Session

from keys import actions
from keys.actions.overlaps import OVERLAPS
from keys.alerts import leaks
from keys.credentials import tokens
from keys.credentials.lookup import find_key
from keys.models import ApiKey, User
from tests.keys.admin.key_forms import PAGES, handed_out, last_event, sent
from tests.keys.people import SECRET, everything_stored, page_of, signed_in


class TestRotating:
    @pytest.mark.parametrize("overlap", list(OVERLAPS))
    def test_gives_a_new_secret_and_says_when_the_old_one_ends(self, cast, bob, key, overlap):
        before = ApiKey.objects.get()

        page = sent(bob, key, "rotate", overlap=overlap).content.decode()

        [secret] = set(SECRET.findall(page))
        after = ApiKey.objects.get()
        assert tokens.parse(secret).last4 == after.last4
        assert after.digest != before.digest
        old = {"old_prefix": before.prefix, "old_last4": before.last4}
        assert (last_event(key).actor, last_event(key).detail) == (cast["bob"], {"overlap": overlap, **old})
        if overlap == "now":
            assert "No longer works" in page
        else:
            assert f"works until {after.previous_ends_at:%Y-%m-%d %H:%M} UTC" in page

    @pytest.mark.parametrize("is_person", [True, False])
    def test_of_a_leaked_key_leaves_the_new_secret_to_a_person_who_holds_it(
        self, cast, bob, settings, is_person
    ):
        dora = cast["dora"]
        found, leaked = actions.issue(owner=dora, name="leaky")
        leaks.report(text=leaked, where="a wiki", address="192.0.2.4")
        client = signed_in(dora)  # counts as a sign-in
        User.objects.filter(pk=dora.pk).update(last_login=dora.last_login if is_person else None)

        page = sent(bob, found, "rotate", overlap="now").content.decode()

        found.refresh_from_db()
        assert (found.state, find_key(tokens.parse(leaked))) == ("active", None)
        assert bool(SECRET.search(page)) is not is_person
        if is_person:
            link = f"/account/keys/{found.public_id}/rotate/"
            assert f"{settings.PUBLIC_URL}{link}" in page
            answers = {"overlap": "now", "form_id": client.get(link).context["form"]["form_id"].value()}
            assert SECRET.search(client.post(link, answers).content.decode())

    def test_shows_the_secret_nowhere_but_in_that_answer(self, alice, key):
        answers = handed_out(alice, key, "rotate")
        response = alice.post(page_of(key, "rotate"), answers)
        [secret] = set(SECRET.findall(response.content.decode()))

        assert "no-store" in response["Cache-Control"]
        assert secret not in str(response.headers) + str(response.cookies) + str(alice.cookies)
        assert not list(response.wsgi_request._messages)
        for page in ("change", "history", *PAGES):
            assert not SECRET.search(alice.get(page_of(key, page)).content.decode()), page
        assert not SECRET.search(alice.post(page_of(key, "rotate"), answers).content.decode())
        assert secret not in everything_stored()
        assert not any(secret in str(session.get_decoded()) for session in Session.objects.all())

    def test_sent_twice_rotates_once_and_says_so(self, bob, key):
        answers = handed_out(bob, key, "rotate")
        bob.post(page_of(key, "rotate"), answers)
        digest = ApiKey.objects.get().digest

        page = bob.post(page_of(key, "rotate"), answers).content.decode()

        assert ApiKey.objects.get().digest == digest
        assert key.events.filter(kind="rotated").count() == 1
        assert "The new secret cannot be shown again." in page

    def test_during_an_overlap_offers_only_to_end_it(self, bob, key):
        actions.rotate(key=key, overlap="7d")

        offered = re.findall(r'<option value="(\w+)"', bob.get(page_of(key, "rotate")).content.decode())
        assert offered == ["now"]
        page = sent(bob, key, "rotate", overlap="24h").content.decode()
        assert not SECRET.search(page)
        assert "The last rotation&#x27;s old secret still works until" in page
        assert SECRET.search(sent(bob, key, "rotate", overlap="now").content.decode())

    def test_that_is_refused_says_why_on_the_page(self, bob, key, monkeypatch):
        def rotate(**_):
            raise actions.ActionError("the key has expired; issue a new one")

        monkeypatch.setattr(actions, "rotate", rotate)

        page = sent(bob, key, "rotate").content.decode()

        assert "The key has expired; issue a new one." in page

    @pytest.mark.parametrize("wrong", [{"overlap": "1y"}, {"form_id": ""}])
    def test_takes_a_whole_form(self, bob, key, wrong):
        sent(bob, key, "rotate", **wrong)

        assert not key.events.filter(kind="rotated").exists()

    def test_keeps_the_secret_out_of_exception_pages(self, alice, key, settings, monkeypatch):
        answers = handed_out(alice, key, "rotate")
        settings.DEBUG = True
        monkeypatch.setattr("keys.pages.frame.render", None)
        alice.raise_request_exception = False

        response = alice.post(page_of(key, "rotate"), answers)

        assert response.status_code == 500
        assert not SECRET.search(response.content.decode())
