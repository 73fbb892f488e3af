"""Keys that holders collect, over the management API."""

import pytest

from keys.actions import collecting
from keys.models import ApiKey, PreparedKey
from keys.rights.scopes import Scope
from tests.keys.api.callers import program, refused
from tests.keys.people import SECRET, by, key_of

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


def test_it_answers_with_a_message_this_once_and_with_no_secret(cast, alice):
    sent = {"user": "dora", "name": "training", "preset": "reader", "expires_in": "90d"}
    answer = alice.post("/prepared-keys", sent, Idempotency_Key="once")

    body = answer.json()
    assert (answer.status_code, answer["Cache-Control"]) == (201, "private, no-store")
    assert (body["state"], body["user"], body["key_id"]) == ("waiting", "dora", None)
    assert body["link"] in body["message"]
    assert not SECRET.search(answer.content.decode())
    assert not ApiKey.objects.filter(name="training").exists()
    again = alice.post("/prepared-keys", sent, Idempotency_Key="once").json()
    assert (again["id"], again["link"], again["message"]) == (body["id"], None, None)


def test_it_tells_when_it_was_collected(cast, alice):
    prepared, _ = collecting.prepare(owner=cast["dora"], name="training", actor=by(cast["bob"]))
    key, _ = collecting.collect(prepared=prepared, actor=by(cast["dora"]))

    [listed] = alice.get("/prepared-keys").json()["results"]

    assert (listed["state"], listed["key_id"], listed["created_by"]) == ("collected", key.public_id, "bob")


def test_one_is_withdrawn(cast, alice):
    prepared, _ = collecting.prepare(owner=cast["dora"], name="training", actor=by(cast["bob"]))

    assert alice.post(f"/prepared-keys/{prepared.public_id}/withdraw").json()["state"] == "withdrawn"
    refused(alice.post("/prepared-keys/prep_x/withdraw"), 404, "not_found")


def test_holders_see_their_own_and_prepare_none(cast):
    for name in ("dora", "bob"):
        collecting.prepare(owner=cast[name], name="training")
    dora = program(cast["dora"], Scope.PORTAL_ADMIN)

    assert [row["user"] for row in dora.get("/prepared-keys").json()["results"]] == ["dora"]
    refused(dora.post("/prepared-keys", {"user": "dora", "name": "more"}), 403, "permission")
    mine = PreparedKey.objects.get(owner=cast["dora"])
    refused(dora.post(f"/prepared-keys/{mine.public_id}/withdraw"), 403, "permission")


def test_a_key_prepares_none_with_a_portal_scope(cast, alice):
    key_of(cast["alice"])

    refused(
        alice.post("/prepared-keys", {"user": "alice", "name": "x", "scopes": ["portal:read"]}),
        403,
        "not_granted",
    )
