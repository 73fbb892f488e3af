"""What administrators did, over the management API."""

import pytest

from keys.models import User
from keys.rights.scopes import Scope
from tests.keys.api.callers import program, refused
from tests.keys.people import queries

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


def test_what_is_done_over_the_api_is_told_there_too(cast, alice):
    alice.post(f"/users/{cast['dora'].public_id}/deactivate", {"reason": "left"})
    alice.post(f"/users/{cast['bob'].public_id}/invite")

    first, second = alice.get("/admin-log").json()["results"]
    assert [(entry["actor"], entry["kind"], entry["about"]) for entry in (first, second)] == [
        ("alice", "user", "bob"),
        ("alice", "user", "dora"),
    ]
    assert first["details"].startswith("Invited.")
    assert second["details"].startswith("Deactivated;")
    assert alice.get("/admin-log?actor=bob").json()["results"] == []
    assert len(alice.get("/admin-log?actor=alice&until=2999-01-01T00:00:00Z").json()["results"]) == 2


def test_it_is_for_who_may_see_what_was_done_to_keys(cast, dora):
    for caller in (program(cast["charlie"], Scope.PORTAL_ADMIN), dora):
        refused(caller.get("/admin-log"), 403, "permission")


def test_it_takes_as_many_queries_for_30_as_for_3(alice):
    counts = []
    for rows in (3, 30):
        for number in range(rows):
            user = User.objects.create(username=f"{rows}-{number}")
            alice.post(f"/users/{user.public_id}/invite")
        counts.append(queries(lambda: alice.get("/admin-log")))

    assert counts[0] == counts[1]
