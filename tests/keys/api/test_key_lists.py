"""Lists of keys, and of what happened to them, over the management API."""

import datetime

import pytest
from django.utils import timezone

from keys import actions
from keys.models import ApiKey, User
from tests.keys.api.callers import API, refused
from tests.keys.people import key_of, queries

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


class TestLists:
    def test_go_on_where_the_page_before_ended_whatever_was_issued_since(self, cast, alice):
        keys = [key_of(cast["dora"], f"key {number}").public_id for number in range(5)]
        first = alice.get("/keys?size=2&user=dora").json()
        key_of(cast["dora"], "newer")
        second = alice.get(first["next"].partition(API)[2]).json()
        third = alice.get(second["next"].partition(API)[2]).json()

        pages = [first, second, third]
        assert [key["id"] for page in pages for key in page["results"]] == keys[::-1]
        assert third["next"] is None

    @pytest.mark.parametrize(
        "query", ["cursor=x", "cursor=-1", "cursor=9e9", "size=0", "size=201", "size=x", "size=²"]
    )
    def test_refuse_what_is_no_page(self, alice, query):
        refused(alice.get(f"/keys?{query}"), 400, "bad_value")

    @pytest.mark.parametrize(
        "query",
        ["ower=dora", "user=a&user=b", "state=alive", "expires_before=soon", "user=", "q=%20", "size="],
    )
    def test_refuse_filters_that_would_not_filter(self, alice, query):
        refused(alice.get(f"/keys?{query}"), 400, "bad_value")

    def test_are_filtered(self, cast, alice):
        key, _ = key_of(cast["dora"], "findable"), key_of(cast["bob"], "another")
        actions.pause(key=key)

        for query in (
            "state=paused",
            "user=dora",
            f"user={cast['dora'].public_id}",
            "q=findable",
            f"q={key.masked}",
        ):
            assert [row["id"] for row in alice.get(f"/keys?{query}").json()["results"]] == [key.public_id], (
                query
            )

    def test_are_filtered_by_expiry_and_use_as_on_the_page(self, cast, alice):
        now, hour = timezone.now(), datetime.timedelta(hours=1)
        names = ("working", "paused", "revoked", "expired", "deactivated", "used", "new")
        every = {name: key_of(cast["dora"], name) for name in names}
        every["deactivated"].owner = User.objects.create_user("erin", is_active=False)
        every["deactivated"].save()
        actions.pause(key=every["paused"])
        actions.revoke(key=every["revoked"])
        ApiKey.objects.exclude(name="new").update(created_at=now - 3 * hour, expires_at=now + hour)
        ApiKey.objects.filter(name="expired").update(expires_at=now - hour)
        ApiKey.objects.filter(name="used").update(last_used_at=now)

        def named(query: str, at: datetime.datetime) -> set[str]:
            moment = at.isoformat().replace("+", "%2B")
            return {row["name"] for row in alice.get(f"/keys?{query}={moment}&user=dora").json()["results"]}

        assert named("expires_before", now + 2 * hour) == {"working", "used"}
        assert named("unused_since", now - hour) == {"working"}

    def test_take_as_many_queries_for_30_keys_as_for_3(self, cast, alice):
        counts = []
        for rows in (3, 30):
            for number in range(rows):
                key_of(cast["dora"], f"{rows} {number}")
            counts.append(queries(lambda: alice.get("/keys")))

        assert counts[0] == counts[1]
        assert counts[0] <= 3  # the caller's key, its user, the keys

    def test_of_events_are_searched_as_on_the_page(self, cast, alice):
        keys = {name: key_of(cast[name], f"{name}s training") for name in ("dora", "bob")}

        for text in ("doras", "DORA", keys["dora"].public_id):
            found = alice.get(f"/events?q={text}").json()["results"]
            assert {event["key_id"] for event in found} == {keys["dora"].public_id}, text
