"""Keys issued over the management API: the secret is in one answer, and wrong fields are refused."""

import datetime

import pytest
from django.test import Client

from keys.credentials import tokens
from keys.models import ApiKey, KeyEvent
from keys.rights.scopes import Preset, Scope
from tests.keys.api.callers import API, program, refused
from tests.keys.people import everything_stored

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


class TestIssue:
    def test_answers_with_the_secret_this_once(self, alice, cast):
        answer = alice.post("/keys", {"user": "dora", "name": "training", "expires_in": "90d"})

        issued, key = answer.json(), ApiKey.objects.get(name="training")
        assert answer.status_code == 201
        assert answer["Cache-Control"] == "private, no-store"
        assert tokens.parse(issued["key"]).last4 == key.last4
        assert (issued["id"], issued["user"], issued["user_id"]) == (
            key.public_id,
            "dora",
            cast["dora"].public_id,
        )
        assert issued["scopes"] == list(Preset.CONTRIBUTOR.scopes)
        assert key.expires_at - key.created_at == pytest.approx(
            datetime.timedelta(days=90), abs=datetime.timedelta(seconds=5)
        )
        assert issued["key"] not in everything_stored()
        assert issued["key"] not in alice.get(f"/keys/{key.public_id}").content.decode()

    def test_is_an_event_that_says_who_from_where_and_with_which_key(self, alice, cast):
        alice.post("/keys", {"user": "dora", "name": "training"})

        event = KeyEvent.objects.get(key__name="training")
        assert (event.kind, event.actor, event.address) == ("issued", cast["alice"], "127.0.0.1")
        assert event.detail["via"] == alice.key.public_id

    def test_is_refused_for_a_test_key_without_a_test_registry(self, alice, cast):
        answer = alice.post("/keys", {"user": "dora", "name": "training", "environment": "test"})

        assert "MLFLOW_TEST_URL" in refused(answer, 409, "not_possible")["detail"]

    def test_takes_every_right(self, alice, cast, settings):
        settings.MLFLOW_TEST_URL = "http://127.0.0.1:9"
        rights = {
            "purpose": "a trial",
            "environment": "test",
            "scopes": ["registry:read", "tracking:read"],
            "networks": ["10.0.0.0/8"],
            "patterns": ["dora-*"],
            "any_owner": True,
            "expires_at": "2099-01-01T00:00:00Z",
        }
        issued = alice.post("/keys", {"user": cast["dora"].public_id, "name": "n", **rights}).json()

        assert {name: issued[name] for name in rights} == {
            **rights,
            "scopes": ["tracking:read", "registry:read"],
        }

    def test_makes_a_canary_if_asked(self, alice, cast):
        issued = [
            alice.post("/keys", {"user": "dora", "name": "n", **more}).json()
            for more in ({"is_canary": True}, {"is_canary": False}, {})
        ]

        assert [key["is_canary"] for key in issued] == [True, False, False]
        assert alice.get(f"/keys/{issued[0]['id']}").json()["is_canary"] is True

    @pytest.mark.parametrize(
        ("change", "field", "words"),
        [
            ({"user": "nobody"}, "user", "no such user"),
            ({"user": None}, "user", "null"),
            ({"name": " "}, "name", "blank"),
            ({"name": "x" * 101}, "name", "100"),
            ({"name": "a\0b"}, "name", "Null"),
            ({"scopes": ["root"]}, "scopes", "root"),
            ({"scopes": []}, "scopes", "at least 1"),
            ({"scopes": ["registry:read"], "preset": "full"}, "scopes", "not both"),
            ({"networks": ["here"]}, "networks", "not a network"),
            ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at", "past"),
            ({"expires_in": "soon"}, "expires_in", "no time"),
            ({"expires_in": "999999d"}, "expires_in", "At most 99999, and m, h, d or w"),
            ({"expires_in": "1d", "expires_at": None}, "expires_in", "not both"),
            ({"environment": "prod"}, "environment", "prod"),
            ({"colour": "red"}, "colour", "No such field"),
            ({"name": "a\x1b[31mb"}, "name", "U+001B"),
            ({"name": "a\u202eb"}, "name", "U+202E"),
            ({"purpose": "a\x1bb"}, "purpose", "U+001B"),
            ({"name": 7}, "name", "Send a string."),
            ({"name": ["n"]}, "name", "Send a string."),
            ({"preset": True}, "preset", "Send a string."),
            ({"networks": [7]}, "networks", "Send a string."),
            ({"scopes": [7]}, "scopes", "Send a string."),
            ({"expires_at": 7}, "expires_at", "Send a string."),
            ({"any_owner": "no"}, "any_owner", "Send true or false, without quotes."),
            ({"any_owner": 0}, "any_owner", "Send true or false, without quotes."),
            ({"monthly_requests": "7"}, "monthly_requests", "Send a whole number, without quotes."),
            ({"monthly_requests": 7.0}, "monthly_requests", "Send a whole number, without quotes."),
            ({"monthly_requests": True}, "monthly_requests", "Send a whole number, without quotes."),
        ],
    )
    def test_says_which_value_is_wrong(self, alice, change, field, words):
        problem = refused(alice.post("/keys", {"user": "dora", "name": "n", **change}), 400, "bad_value")

        assert words in str(problem["errors"][field])
        assert not ApiKey.objects.filter(owner__username="dora").exists()

    def test_is_not_for_deactivated_users(self, alice, cast):
        cast["dora"].is_active = False
        cast["dora"].save()

        assert (
            "deactivated"
            in refused(alice.post("/keys", {"user": "dora", "name": "n"}), 400, "bad_value")["detail"]
        )

    @pytest.mark.parametrize("body", ["", "{", "[]", "null", '"x"', '{"a": NaN}'])
    def test_needs_an_object_of_json(self, alice, body):
        assert alice("POST", "/keys", body).status_code == 400

    @pytest.mark.parametrize(
        "body",
        ["[" * 60_000, '{"user": ' * 6000, "[" * 3000 + "]" * 3000, '{"name":' + "[" * 900 + "]" * 900 + "}"],
    )
    @pytest.mark.parametrize("path", ["/keys", "/introspect"])
    def test_needs_json_that_ends(self, cast, path, body):
        caller = program(cast["alice"], Scope.PORTAL_ADMIN, Scope.PORTAL_INTROSPECT)

        answer = refused(caller("POST", path, body), 400, "bad_request")
        assert "nested too deep" in answer["detail"]

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ('{"user": "dora", "name": "a", "name": "b"}', "a key stands in it twice"),
            ('{"user": "dora", "name": NaN}', "NaN is not JSON"),
            ('{"user": "dora"', "cannot be read for certain"),
        ],
    )
    def test_needs_a_body_that_says_one_thing(self, alice, body, words):
        sent = Client(headers={"Authorization": f"Bearer {alice.secret}"})
        answer = sent.post(f"{API}/keys", body, content_type="application/json")

        assert words in refused(answer, 400, "bad_request")["detail"]

    def test_needs_a_body_of_json(self, alice):
        answer = Client(headers={"Authorization": f"Bearer {alice.secret}"}).post(
            f"{API}/keys", {"user": "dora"}
        )

        refused(answer, 415, "bad_media_type")

    def test_does_not_read_bodies_without_end(self, alice):
        refused(alice.post("/keys", {"name": "x" * 3_000_000}), 413, "body_too_large")
