"""Whether a key was used yet, asked by the page that shows it; and who used it in the last day."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from keys import actions
from keys.admin import key_usage
from keys.models import ApiKey, User
from proxy.models import CallTotal
from proxy.models.totals import LATENCIES_MS
from tests.keys.people import call, key_of, page_of, signed_in


def asked(client: Client, key: ApiKey):
    return client.get(f"/account/connection/{key.public_id}")


def total(key: ApiKey, calls: int, *, hours_ago: int = 0) -> None:
    """Of an hour, as the log's writer writes it down."""
    start = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours_ago)
    latencies = [calls] + [0] * len(LATENCIES_MS)
    CallTotal.objects.create(
        span="hour", start=start, key=key, user=key.owner, status_class=2, calls=calls, latencies=latencies
    )


@pytest.mark.parametrize(
    ("name", "status"), [("alice", 200), ("bob", 200), ("dora", 200), ("charlie", 404), (None, 404)]
)
def test_the_owner_and_those_who_see_keys_are_told(cast, key, name, status):
    client = signed_in(cast[name]) if name else Client()

    assert asked(client, key).status_code == status


def test_anothers_key_looks_like_none(cast, key):
    erin = signed_in(User.objects.create_user("erin"))
    # Rights count for staff only.
    User.objects.get(username="erin").user_permissions.set(Permission.objects.filter(codename="view_apikey"))

    assert asked(erin, key).status_code == 404
    assert erin.get("/account/connection/key_none").status_code == 404


def test_it_says_when_from_where_and_with_what(cast, key):
    dora = signed_in(cast["dora"])
    answer = asked(dora, key)
    assert answer.json() == {"connected": False}
    assert answer["Cache-Control"] == "private, no-store"

    ApiKey.objects.filter(pk=key.pk).update(
        last_used_at="2026-11-23T16:40:00Z", last_used_address="192.0.2.9", last_used_client="<client/1>"
    )

    assert asked(dora, key).json() == {
        "connected": True,
        "at": "2026-11-23 16:40 UTC",
        "address": "192.0.2.9",
        "client": "<client/1>",
    }


def test_after_a_rotation_it_waits_for_the_new_secret(cast, key):
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=timezone.now())
    actions.rotate(key=key)

    assert asked(signed_in(cast["dora"]), key).json() == {"connected": False}


def test_nothing_is_sent_to_it(cast, key):
    assert signed_in(cast["dora"]).post(f"/account/connection/{key.public_id}").status_code == 405


def test_the_last_day_is_told_by_address_and_client(key):
    other = key_of(key.owner)
    for number, (address, client) in enumerate(
        [("192.0.2.1", "a/1"), ("192.0.2.1", "a/1"), ("192.0.2.2", "a/1")]
    ):
        call(key, number, address=address, client=client)
    call(key, 10, at=timezone.now() - timedelta(hours=25), address="192.0.2.3")
    call(other, 11, address="192.0.2.4")

    last_day = key_usage.of_last_day(key)

    assert [(row["address"], row["client"], row["times"]) for row in last_day["callers"]] == [
        ("192.0.2.1", "a/1", 2),
        ("192.0.2.2", "a/1", 1),
    ]


def test_how_many_they_were_is_read_from_the_totals(key, monkeypatch):
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now)
    for hours_ago, calls in ((0, 1), (7, 20), (24, 300), (25, 4000)):
        total(key, calls, hours_ago=hours_ago)
    total(key_of(key.owner), 50_000)

    assert key_usage.of_last_day(key) == {"calls": 321, "callers": []}


def test_who_revokes_a_key_sees_who_used_it(cast, alice, key):
    call(key, 1, address="192.0.2.1", client="<mlflow>/3")
    total(key, 1)

    page = alice.get(page_of(key, "revoke")).content.decode()

    assert "1 call." in page
    assert "&lt;mlflow&gt;/3" in page


def test_without_the_right_to_see_calls_it_is_left_out(cast, key):
    cast["charlie"].user_permissions.set(Permission.objects.filter(codename="change_apikey"))
    call(key, 1, address="192.0.2.1")

    page = signed_in(cast["charlie"]).get(page_of(key, "revoke")).content.decode()

    assert "192.0.2.1" not in page
    assert "Type the key" in page
