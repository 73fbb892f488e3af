"""The page that changes a key's rights."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from keys import actions
from keys.models import ApiKey
from keys.rights.scopes import Preset
from tests.keys.admin.key_forms import handed_out, last_event, sent
from tests.keys.people import page_of


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
