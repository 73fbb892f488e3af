"""A report from the web is shown as a report, with its location and address, wherever the key and its history are."""

import csv
import io

import pytest
from django.core.management import call_command
from django.test import Client

from keys import actions
from keys.limits.counters import get_counters
from keys.rights.scopes import Scope
from tests.keys.api.callers import program
from tests.keys.people import page_of, queries, signed_in

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]

WHERE = "https://example.org/repo/blob/main/train.py#L4"


@pytest.fixture
def leaked(cast):
    """A key that somebody reported on the page for people."""
    get_counters.cache_clear()
    key, secret = actions.issue(owner=cast["dora"], name="nightly training")
    answer = Client(REMOTE_ADDR="198.51.100.7").post("/leaks", {"key": f"token={secret}", "where": WHERE})
    assert answer.status_code == 200
    return key


def test_pages_name_location_and_address_and_show_the_key_as_leaked(cast, alice, leaked):
    activity = alice.get("/admin/keys/keyevent/").content.decode()
    page = alice.get(page_of(leaked)).content.decode()
    own = signed_in(cast["dora"]).get(f"/account/keys/{leaked.public_id}/").content.decode()

    for shown in (activity, page, own):
        assert WHERE in shown
        assert "198.51.100.7" in shown
        assert "leak report" in shown
    assert '<span class="badge danger">leaked</span>' in " ".join(page.split())
    for shown in (own, signed_in(cast["dora"]).get("/account/").content.decode()):
        assert '<span class="badge danger">Leaked</span>' in shown
    assert "leaked</span>" in alice.get("/admin/keys/apikey/").content.decode()


def test_a_key_that_was_only_paused_is_paused(cast, alice):
    key = actions.issue(owner=cast["dora"], name="resting")[0]
    actions.pause(key=key)

    assert "paused</span>" in alice.get("/admin/keys/apikey/").content.decode()
    assert "leaked" not in alice.get("/admin/keys/apikey/").content.decode()


def test_files_api_and_command_name_the_report(cast, alice, leaked, capsys):
    file = b"".join(alice.get("/admin/keys/keyevent/export/").streaming_content).decode()
    row = next(row for row in csv.DictReader(io.StringIO(file)) if row["what"] == "leaked")
    assert (row["who"], row["details"]) == ("leak report", f"Found at {WHERE}")

    [event] = program(cast["alice"], Scope.PORTAL_READ).get("/events?kind=leaked").json()["results"]
    assert (event["by"], event["actor"], event["detail"]["where"]) == ("leak report", None, WHERE)

    call_command("list_events", "--kind", "leaked")
    assert "leak report" in capsys.readouterr().out


def test_a_list_takes_as_many_queries_for_30_paused_keys_as_for_3(cast, alice):
    dora, counts = signed_in(cast["dora"]), []
    for numbers in (range(3), range(3, 30)):
        for number in numbers:
            actions.pause(key=actions.issue(owner=cast["dora"], name=f"key {number}")[0])
        counts.append(
            (queries(lambda: alice.get("/admin/keys/apikey/")), queries(lambda: dora.get("/account/")))
        )

    assert counts[0] == counts[1]
