"""The pages that act on a key: who may open and send them, which of them the key's page offers, and pausing."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from keys import actions
from keys.models import ApiKey
from tests.keys.admin.key_forms import PAGES, handed_out, last_event, ready_for, sent
from tests.keys.people import page_of, signed_in

EVENTS = {
    "rights": "changed",
    "pause": "paused",
    "resume": "resumed",
    "rotate": "rotated",
    "revoke": "revoked",
}
EVERYBODY = [("alice", 200), ("bob", 200), ("charlie", 403), ("dora", 302), (None, 302)]


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
