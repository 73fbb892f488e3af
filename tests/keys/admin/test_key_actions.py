"""The pages that change, pause, resume and rotate a key: who may, what they do, what they show."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from keys import actions
from keys.actions.overlaps import OVERLAPS
from keys.alerts import leaks
from keys.credentials import tokens
from keys.credentials.lookup import find_key
from keys.models import ApiKey, KeyEvent, User
from keys.rights.scopes import Preset
from tests.keys.people import SECRET, everything_stored, key_of, page_of, signed_in

PAGES = ["rights", "pause", "resume", "rotate", "revoke"]
EVENTS = {
    "rights": "changed",
    "pause": "paused",
    "resume": "resumed",
    "rotate": "rotated",
    "revoke": "revoked",
}
EVERYBODY = [("alice", 200), ("bob", 200), ("charlie", 403), ("dora", 302), (None, 302)]


@pytest.fixture
def key(cast) -> ApiKey:
    return key_of(cast["dora"])


def ready_for(page: str, key: ApiKey) -> None:
    if page == "resume":
        actions.pause(key=key)


def handed_out(client: Client, key: ApiKey, page: str) -> dict:
    """The fields of the form as a browser would send them back, hidden ones included."""
    form = client.get(page_of(key, page)).context["form"]
    answers: dict = {}
    for bound in form:
        value = bound.value()
        if bound.name == "expires_at":
            value = value and f"{value:%Y-%m-%dT%H:%M}"
        if value in (None, False):
            value = []
        answers[bound.html_name] = "on" if value is True else value
        if bound.field.show_hidden_initial:
            hidden = str(form[bound.name].as_hidden(only_initial=True))
            answers[bound.html_initial_name] = re.findall(r'value="([^"]*)"', hidden)
    return answers


def sent(client: Client, key: ApiKey, page: str, **changes):
    answers = {**handed_out(client, key, page), **changes}
    if page == "revoke":
        answers["confirmation"] = key.name
    return client.post(page_of(key, page), answers, REMOTE_ADDR="192.0.2.7")


def last_event(key: ApiKey) -> KeyEvent:
    return key.events.first()


class TestWhoMay:
    @pytest.mark.parametrize("act", PAGES)
    @pytest.mark.parametrize(("name", "status"), EVERYBODY)
    def test_see_a_page(self, cast, key, act, name, status):
        ready_for(act, key)
        client = signed_in(cast[name]) if name else Client()

        assert client.get(page_of(key, act)).status_code == status

    @pytest.mark.parametrize("act", PAGES)
    @pytest.mark.parametrize(("name", "may"), [("bob", True), ("charlie", False), ("dora", False)])
    def test_do_it(self, cast, alice, key, act, name, may):
        ready_for(act, key)
        answers = handed_out(alice, key, act) | {"name": "another name", "confirmation": key.name}

        signed_in(cast[name]).post(page_of(key, act), answers)

        assert key.events.filter(kind=EVENTS[act]).exists() is may

    @pytest.mark.parametrize("act", PAGES)
    @pytest.mark.parametrize(
        ("codenames", "pages"),
        [
            (["view_apikey"], []),
            (["add_apikey"], []),
            (["change_apikey"], ["rights", "pause", "resume", "revoke"]),
            (["add_apikey", "change_apikey"], PAGES),
        ],
    )
    def test_a_new_secret_takes_the_right_to_issue_too(self, cast, key, act, codenames, pages):
        cast["charlie"].user_permissions.set(Permission.objects.filter(codename__in=codenames))
        ready_for(act, key)

        status = signed_in(cast["charlie"]).get(page_of(key, act)).status_code

        assert status == (200 if act in pages else 403)

    @pytest.mark.parametrize("act", PAGES)
    def test_nothing_happens_by_a_get_or_without_the_csrf_token(self, cast, alice, key, act):
        ready_for(act, key)
        answers = handed_out(alice, key, act) | {"name": "another", "confirmation": key.name}
        before, events = ApiKey.objects.values().get(), key.events.count()
        strict = signed_in(cast["alice"], enforce_csrf_checks=True)

        alice.get(page_of(key, act), answers)
        assert strict.post(page_of(key, act), answers).status_code == 403

        assert (ApiKey.objects.values().get(), key.events.count()) == (before, events)

    @pytest.mark.parametrize("act", PAGES)
    def test_a_key_that_is_none_is_not_found(self, alice, key, act):
        assert alice.get(page_of(key, act).replace(f"/{key.pk}/", "/999999/")).status_code == 404


class TestButtons:
    """On the key's page stands what can be done to it now, by this person."""

    @pytest.mark.parametrize(
        ("state", "offered"),
        [
            ("active", {"rights", "pause", "rotate", "revoke"}),
            ("rotating", {"rights", "pause", "rotate", "revoke"}),
            ("paused", {"rights", "resume", "rotate", "revoke"}),
            ("expired", {"rights", "revoke"}),
            ("expired and paused", {"rights", "resume", "revoke"}),
            ("revoked", set()),
        ],
    )
    def test_by_state(self, bob, key, state, offered):
        if state == "rotating":
            actions.rotate(key=key)
        if "paused" in state:
            actions.pause(key=key)
        if "expired" in state:
            ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(days=1))
        if state == "revoked":
            actions.revoke(key=key)

        page = bob.get(page_of(key)).content.decode()

        assert {name for name in PAGES if f'href="{page_of(key, name)}"' in page} == offered
        for name in PAGES:
            assert bob.get(page_of(key, name)).status_code == (200 if name in offered else 302)

    def test_by_permission(self, cast, key):
        cast["charlie"].user_permissions.set(Permission.objects.filter(codename="view_apikey"))

        page = signed_in(cast["charlie"]).get(page_of(key)).content.decode()

        assert not any(f'href="{page_of(key, name)}"' in page for name in PAGES)
        assert f'href="/admin/try/{key.pk}/"' in page


class TestRights:
    def test_are_changed_as_the_form_says(self, cast, bob, key):
        response = sent(
            bob,
            key,
            "rights",
            name="weekly",
            purpose="another",
            preset="single",
            scopes=["registry:read", "tracking:read"],
            networks=" 10.0.0.0/8\r\n\r\n2001:db8::/32 ",
            patterns="fraud-*\n two words ",
            any_owner="on",
            expires_at="2099-01-31T12:30",
        )

        assert response["Location"] == page_of(key)
        key.refresh_from_db()
        assert (key.name, key.purpose, key.any_owner) == ("weekly", "another", True)
        assert key.scopes == ["tracking:read", "registry:read"]
        assert (key.networks, key.patterns) == (["10.0.0.0/8", "2001:db8::/32"], ["fraud-*", "two words"])
        assert f"{key.expires_at:%Y-%m-%d %H:%M:%S %Z}" == "2099-01-31 12:30:00 UTC"
        event = last_event(key)
        assert (event.kind, event.actor, event.address) == ("changed", cast["bob"], "192.0.2.7")

    @pytest.mark.parametrize("preset", Preset)
    def test_of_a_preset_are_its_scopes_whatever_is_ticked(self, bob, key, preset):
        sent(bob, key, "rights", preset=preset.value, scopes=["traces:read"])

        key.refresh_from_db()
        assert key.scopes == list(preset.scopes)

    def test_can_be_taken_back(self, bob, key):
        everything = {"networks": ["10.0.0.0/8"], "patterns": ["a*"], "any_owner": True}
        actions.change(key=key, expires_at=timezone.now() + timedelta(days=9), **everything)

        sent(bob, key, "rights", networks="", patterns="", any_owner=[], expires_at="")

        key.refresh_from_db()
        assert (key.networks, key.patterns, key.any_owner, key.expires_at) == ([], [], False, None)

    @pytest.mark.parametrize("expires_in", [None, timedelta(days=3, seconds=7), timedelta(days=-3)])
    @pytest.mark.parametrize("scopes", [["traces:read"], list(Preset.FULL.scopes)])
    def test_that_nobody_touched_stay_as_they_are(self, bob, key, expires_in, scopes):
        expires_at = expires_in and timezone.now() + expires_in
        ApiKey.objects.filter(pk=key.pk).update(
            expires_at=expires_at, networks=["10.0.0.0/8"], patterns=["a b", "c*"], scopes=scopes
        )
        before = ApiKey.objects.values().get()

        response = sent(bob, key, "rights")

        assert "Nothing was changed." in bob.get(response["Location"]).content.decode()
        assert ApiKey.objects.values().get() == before
        assert key.events.count() == 1

    def test_that_a_colleague_changed_meanwhile_are_not_undone(self, bob, key):
        opened = handed_out(bob, key, "rights")
        actions.change(key=key, networks=["10.0.0.0/8"], scopes=["traces:read"])

        bob.post(page_of(key, "rights"), {**opened, "name": "weekly"})

        key.refresh_from_db()
        assert (key.name, key.networks, key.scopes) == ("weekly", ["10.0.0.0/8"], ["traces:read"])

    def test_an_expired_key_can_be_renamed_and_given_more_time(self, bob, key):
        ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(days=1))

        sent(bob, key, "rights", name="weekly")
        assert ApiKey.objects.get().name == "weekly"
        sent(bob, key, "rights", expires_at="2099-01-31T12:30")
        assert ApiKey.objects.get().state == "active"

    @pytest.mark.parametrize(
        ("field", "value", "problem"),
        [
            ("networks", "10.0.0.0/8\nhere", "“here” is not a network"),
            ("networks", "fe80::%" + "x" * 60, "is not a network"),
            ("networks", "10.1.2.3/16", "“10.1.2.3/16” is not a network"),
            ("patterns", "x" * 257, "A pattern has at most 256 characters."),
            ("expires_at", "2020-01-01T00:00", "The expiry lies in the past."),
            ("expires_at", "soon", "Enter a valid date/time."),
            ("name", "  ", "This field is required."),
            ("name", "x" * 101, "at most 100 characters"),
            ("scopes", [], "A key needs at least one scope."),
            ("scopes", ["root"], "root is not one of the available choices"),
            ("patterns", "a\0b", "Null characters are not allowed."),
        ],
    )
    def test_that_cannot_be_are_said_at_their_field_and_nothing_typed_is_lost(
        self, bob, key, field, value, problem
    ):
        typed = {
            "preset": "single",
            "scopes": ["traces:write"],
            "purpose": "typed",
            "networks": "10.9.0.0/16",
        }

        response = sent(bob, key, "rights", **{**typed, field: value})

        page, form = response.content.decode(), response.context["form"]
        assert problem in " ".join(form.errors[field])
        assert list(form.errors) == [field]
        assert "The form was not accepted." in page
        assert key.events.count() == 1
        for name in {"purpose", "networks"} - {field}:
            assert typed[name] in page
        if field != "scopes":
            assert re.search(r'value="traces:write"[^>]*checked', page)

    def test_of_a_key_that_was_revoked_meanwhile_are_refused_on_the_page(self, bob, key, monkeypatch):
        def change(**_):
            raise actions.ActionError("the key was revoked on 2026-11-23; issue a new one")

        monkeypatch.setattr(actions, "change", change)

        page = sent(bob, key, "rights", name="typed").content.decode()

        assert "The key was revoked on 2026-11-23; issue a new one." in page
        assert 'value="typed"' in page


class TestPausing:
    def test_and_resuming_are_events_with_reason_and_author(self, cast, bob, key):
        response = sent(bob, key, "pause", reason="looks odd")

        assert "is paused. Calls with it are refused" in bob.get(response["Location"]).content.decode()
        assert ApiKey.objects.get().state == "paused"
        event = last_event(key)
        assert (event.kind, event.actor, event.address) == ("paused", cast["bob"], "192.0.2.7")
        assert event.detail == {"reason": "looks odd"}
        assert "looks odd" in bob.get(page_of(key)).content.decode()

        response = sent(bob, key, "resume")

        assert "is resumed." in bob.get(response["Location"]).content.decode()
        assert ApiKey.objects.get().state == "active"
        assert (last_event(key).kind, last_event(key).actor) == ("resumed", cast["bob"])

    def test_twice_is_one_pause(self, bob, key):
        for _ in range(2):
            bob.post(page_of(key, "pause"), {})

        assert key.events.filter(kind="paused").count() == 1


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
