"""The page of what was done to keys: filters, pages, CSV; nobody changes it."""

import csv
import io

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType

from keys import actions
from keys.formatting.csv_export import CHUNK
from keys.models import KeyEvent, User
from tests.keys.people import USERS, by, key_of, queries, signed_in

ACTIVITY = "/admin/keys/keyevent/"
OF_USERS = "/admin/admin/logentry/"
EXPORT = "/admin/keys/keyevent/export/"


@pytest.fixture
def history(cast) -> None:
    key = key_of(cast["dora"], name="first")
    actions.change(key=key, name="=cmd()", actor=by(cast["bob"], "192.0.2.7"))
    actions.pause(key=key, reason="odd traffic", actor=by(cast["alice"], "192.0.2.8"))
    key_of(cast["charlie"], name="second")


def test_it_says_who_did_what_when_and_from_where(alice, history):
    page = alice.get(ACTIVITY).content.decode()

    assert "Name: “first” → “=cmd()”" in page
    assert "192.0.2.7" in page
    assert "odd traffic" in page
    assert "command line" in page
    assert "Time (UTC)" in page


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ({"kind__exact": "paused"}, ["paused"]),
        ({"who": "bo"}, ["changed"]),
        ({"q": "second"}, ["issued"]),
        ({"q": "dora"}, ["paused", "changed", "issued"]),
    ],
)
def test_it_is_filtered(alice, history, query, kinds):
    listed = alice.get(ACTIVITY, query).context["cl"].result_list
    rows = csv.DictReader(io.StringIO(exported(alice, query)))

    assert [event.kind for event in listed] == kinds
    assert [row["what"] for row in rows] == kinds


def test_one_keys_history_is_linked_from_the_key(alice, history):
    event = KeyEvent.objects.get(kind="paused")

    listed = alice.get(ACTIVITY, {"key__id__exact": event.key_id}).context["cl"].result_list

    assert {found.key_id for found in listed} == {event.key_id}
    assert len(listed) == 3


def test_the_file_has_everything_and_computes_nothing(cast, alice, history):
    rows = list(csv.DictReader(io.StringIO(exported(alice))))

    assert len(rows) == KeyEvent.objects.count()
    assert rows[1] == {
        "at": rows[1]["at"],
        "what": "paused",
        "key_id": KeyEvent.objects.get(kind="paused").key.public_id,
        "key": "'=cmd()",
        "owner": "dora",
        "who": "alice",
        "address": "192.0.2.8",
        "details": "odd traffic",
    }
    assert rows[1]["at"].endswith("+00:00")


def test_the_file_goes_on_beyond_what_is_read_at_once(cast, alice):
    key = key_of(cast["dora"])
    KeyEvent.objects.bulk_create(KeyEvent(key=key, kind="issued") for _ in range(CHUNK + 2))

    rows = list(csv.DictReader(io.StringIO(exported(alice))))

    assert len(rows) == CHUNK + 3


@pytest.mark.parametrize("name", ["charlie", "dora"])
def test_who_may_not_see_it_gets_no_file(cast, history, name):
    assert signed_in(cast[name]).get(EXPORT).status_code in (302, 403)


def test_nobody_changes_it(alice, history):
    event = KeyEvent.objects.first()

    assert alice.post(f"{ACTIVITY}{event.pk}/change/", {"kind": "revoked"}).status_code == 403
    assert alice.post(f"{ACTIVITY}{event.pk}/delete/", {"post": "yes"}).status_code == 403
    assert alice.post(f"{ACTIVITY}add/", {"kind": "revoked"}).status_code == 403


def test_it_takes_as_many_queries_for_1000_events_as_for_10(cast, alice):
    counts = []
    for number in (10, 990):
        key = key_of(cast["dora"])
        KeyEvent.objects.bulk_create(
            KeyEvent(key=key, kind="issued", actor=cast["bob"]) for _ in range(number)
        )
        counts.append(queries(lambda: alice.get(ACTIVITY)))

    assert counts[0] == counts[1] == 3  # session, user, one page


def exported(client, query=None, *, address: str = EXPORT) -> str:
    response = client.get(address, query or {})
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    return b"".join(response.streaming_content).decode()


class TestOfUsers:
    def test_it_says_what_admins_did_to_users(self, cast, alice, bob):
        bob.post(f"{USERS}{cast['dora'].pk}/deactivate/", {"reason": "left"})
        none = {"api_keys-TOTAL_FORMS": "0", "api_keys-INITIAL_FORMS": "0"}
        staff = {"username": "charlie", "role": "auditor"}
        alice.post(f"{USERS}{cast['charlie'].pk}/change/", {**staff, **none})

        page = alice.get(OF_USERS).content.decode()

        assert "Users and owners |" in page
        assert "Deactivated; no key of theirs was working. From 127.0.0.1." in page
        assert "Role: custom → auditor. Mended: " in page
        listed = alice.get(OF_USERS, {"who": "bo"}).context["cl"].result_list
        assert [entry.object_repr for entry in listed] == ["dora"]

    @pytest.mark.parametrize(("name", "status"), [("charlie", 403), ("dora", 302)])
    def test_it_is_for_those_who_see_activity(self, cast, name, status):
        assert signed_in(cast[name]).get(OF_USERS).status_code == status

    def test_nobody_changes_it(self, cast, alice, bob):
        bob.post(f"{USERS}{cast['dora'].pk}/deactivate/")
        [entry] = LogEntry.objects.all()

        assert alice.post(f"{OF_USERS}{entry.pk}/change/", {"object_repr": "x"}).status_code == 403
        assert alice.post(f"{OF_USERS}{entry.pk}/delete/", {"post": "yes"}).status_code == 403

    def test_it_is_to_be_had_as_a_file(self, cast, alice, bob):
        bob.post(f"{USERS}{cast['dora'].pk}/deactivate/", {"reason": "left"})

        [entry] = csv.DictReader(io.StringIO(exported(alice, address=f"{OF_USERS}export/")))

        assert (entry["who"], entry["about"], entry["kind"]) == ("bob", "dora", "user")
        assert entry["details"].startswith("Deactivated")

    def test_it_takes_as_many_queries_for_1000_entries_as_for_10(self, cast, alice):
        about = ContentType.objects.get_for_model(User)
        counts = []
        for number in (10, 990):
            entry = {"user": cast["bob"], "content_type": about, "object_id": "1", "action_flag": 2}
            LogEntry.objects.bulk_create(LogEntry(**entry, object_repr="dora") for _ in range(number))
            counts.append(queries(lambda: alice.get(OF_USERS)))

        assert counts[0] == counts[1]
