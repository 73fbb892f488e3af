"""The usage log and its totals over the management API."""

import csv
import io
import json
from datetime import timedelta

import pytest
from django.utils import timezone

from proxy.api.calls import CallSerializer
from proxy.lists.exports import CALL_FIELDS
from proxy.models.totals import LATENCIES_MS, CallTotal
from tests.keys.api.callers import API, refused
from tests.keys.people import call, key_of, queries

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


def ids(answer) -> list[str]:
    return [row["request_id"] for row in answer.json()["results"]]


class TestCalls:
    def test_are_seen_by_who_may_and_else_only_ones_own(self, cast, alice, charlie, dora):
        own, other = call(key_of(cast["dora"]), 1), call(key_of(cast["bob"]), 2)

        assert ids(alice.get("/calls")) == [other.request_id, own.request_id]
        assert ids(dora.get("/calls")) == [own.request_id]
        assert ids(charlie.get("/calls")) == []
        assert dora.get(f"/calls/{own.request_id}").json()["user"] == "dora"
        refused(dora.get(f"/calls/{other.request_id}"), 404, "not_found")
        refused(dora.get("/calls/req_%00"), 404, "not_found")

    def test_have_the_fields_of_the_exports(self, cast, alice):
        record = call(key_of(cast["dora"]), 1)

        assert list(CallSerializer().fields) == CALL_FIELDS
        assert list(alice.get(f"/calls/{record.request_id}").json()) == CALL_FIELDS

    def test_are_filtered(self, cast, alice):
        key = key_of(cast["dora"])
        wanted = call(
            key,
            1,
            status=403,
            reason="scope",
            operation="runs.create",
            address="10.0.0.1",
            object_kind="run",
            object_name="abc",
        )
        call(key_of(cast["bob"]), 2, at=timezone.now() - timedelta(hours=2), address="10.0.0.2")
        hour_ago = (timezone.now() - timedelta(hours=1)).isoformat().replace("+", "%2B")
        for query in (
            "user=dora",
            f"user={cast['dora'].public_id}",
            f"key={key.public_id}",
            f"request_id={wanted.request_id}",
            "operation=runs.create",
            "status=4",
            "reason=scope",
            "refused=true",
            "object=abc",
            "address=10.0.0.1",
            f"since={hour_ago}",
        ):
            assert ids(alice.get(f"/calls?{query}")) == [wanted.request_id], query
        assert wanted.request_id not in ids(alice.get(f"/calls?until={hour_ago}"))

    @pytest.mark.parametrize(
        "query",
        [
            "status=9",
            "refused=maybe",
            "address=here",
            "since=soon",
            "until=0001-01-01T00:00:00%2B12:00",
            "cursor=1",
            "since=&user=",
            "nothing=1",
        ],
    )
    def test_refuse_what_does_not_filter(self, alice, query):
        refused(alice.get(f"/calls?{query}"), 400, "bad_value")

    def test_tell_of_microseconds_and_no_noise_of_floats(self, cast, alice):
        call(key_of(cast["dora"]), 1, duration_ms=796.8989999999999, upstream_ms=0.1 + 0.2)

        [row] = alice.get("/calls").json()["results"]
        assert (row["duration_ms"], row["upstream_ms"]) == (796.899, 0.3)

    def test_take_times_of_any_zone(self, cast, alice):
        record = call(key_of(cast["dora"]), 1)

        assert ids(alice.get("/calls?since=0730-08-28T04:45:44-19:33")) == [record.request_id]

    def test_come_in_pages_that_new_calls_do_not_shift(self, cast, alice):
        key = key_of(cast["dora"])
        for number in range(5):
            call(key, number)
        first = alice.get("/calls?size=3").json()
        call(key, 9)
        second = alice.get(first["next"].partition(API)[2]).json()

        found = [row["request_id"] for page in (first, second) for row in page["results"]]
        assert found == [f"req_{number:032x}" for number in range(4, -1, -1)]
        assert second["next"] is None

    def test_take_as_many_queries_for_30_as_for_5(self, cast, alice):
        counts = []
        for rows in (5, 30):
            for number in range(rows):
                call(key_of(cast["dora"]), rows * 100 + number)
            counts.append(queries(lambda: alice.get("/calls?status=2&size=3")))

        assert counts[0] == counts[1]

    @pytest.mark.parametrize("form", ["csv", "jsonl"])
    def test_are_exported_as_filtered_and_as_may_be_seen(self, cast, alice, dora, form):
        own, _ = call(key_of(cast["dora"]), 1), call(key_of(cast["bob"]), 2)

        for caller, query in ((dora, ""), (alice, "&user=dora")):
            answer = caller.get(f"/calls/export?form={form}{query}")
            text = b"".join(answer.streaming_content).decode()
            rows = (
                list(csv.DictReader(io.StringIO(text)))
                if form == "csv"
                else [json.loads(line) for line in text.splitlines()]
            )
            assert [row["request_id"] for row in rows] == [own.request_id]
            assert answer["Content-Disposition"].startswith('attachment; filename="calls-')
        refused(alice.get("/calls/export?form=pdf"), 400, "bad_value")


def total(key, calls: int, *, days: int = 0, span: str = "day", operation: str = "runs.create") -> None:
    start = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(days=days)
    CallTotal.objects.create(
        span=span,
        start=start.replace(hour=0) if span == "day" else start,
        key=key,
        user=key.owner,
        operation=operation,
        status_class=2,
        calls=calls,
        bytes_in=calls * 10,
        latencies=[0] * (len(LATENCIES_MS) + 1),
    )


class TestUsage:
    def rows(self, caller, query: str = "") -> list[dict]:
        answer = caller.get(f"/usage{query}")
        assert answer.status_code == 200, answer.content
        return answer.json()["results"]

    def test_is_summed_from_the_totals(self, cast, alice, dora):
        doras, bobs = key_of(cast["dora"]), key_of(cast["bob"])
        total(doras, 3), total(doras, 4, days=1), total(bobs, 5), total(bobs, 90, days=40)

        [everything] = self.rows(alice)
        assert (everything["calls"], everything["bytes_in"]) == (12, 120)
        assert [row["calls"] for row in self.rows(dora)] == [7]

    def test_is_told_by_what_is_asked(self, cast, alice):
        doras, bobs = key_of(cast["dora"], "d"), key_of(cast["bob"], "b")
        (
            total(doras, 3),
            total(doras, 4, days=1, operation="runs.get"),
            total(bobs, 5),
            total(bobs, 1, span="hour"),
        )

        assert [(row["user"], row["calls"]) for row in self.rows(alice, "?by=user")] == [
            ("dora", 7),
            ("bob", 5),
        ]
        by_key = self.rows(alice, "?by=key")
        assert [(row["key_id"], row["key"]) for row in by_key] == [
            (doras.public_id, "d"),
            (bobs.public_id, "b"),
        ]
        assert [row["calls"] for row in self.rows(alice, "?by=operation")] == [8, 4]
        assert len(self.rows(alice, "?by=day,user")) == 3
        assert [row["status"] for row in self.rows(alice, "?by=status")] == [2]
        assert [row["calls"] for row in self.rows(alice, "?by=hour")] == [1]
        assert [row["calls"] for row in self.rows(alice, "?user=bob")] == [5]
        assert [row["calls"] for row in self.rows(alice, f"?key={doras.public_id}&operation=runs.get")] == [4]

    def test_tells_of_microseconds_and_no_noise_of_floats(self, cast, alice):
        total(key_of(cast["dora"]), 1), total(key_of(cast["bob"]), 1)
        CallTotal.objects.filter(user=cast["dora"]).update(duration_ms=0.1)
        CallTotal.objects.filter(user=cast["bob"]).update(duration_ms=0.2)

        assert [row["duration_ms"] for row in self.rows(alice)] == [0.3]
        assert [row["duration_ms"] for row in self.rows(alice, "?by=operation")] == [0.3]

    def test_by_model_is_counted_in_the_log(self, cast, alice, dora):
        for number, user in enumerate(["dora", "dora", "bob"]):
            call(key_of(cast[user]), number, object_kind="registered_model", object_name="fraud")

        assert self.rows(alice, "?by=model") == [{"model": "fraud", "calls": 3}]
        assert self.rows(dora, "?by=model") == [{"model": "fraud", "calls": 2}]

    @pytest.mark.parametrize(
        "query",
        [
            "by=colour",
            "by=",
            "by=day,hour",
            "by=model,key",
            "since=x",
            "since=2026-02-01T00:00:00Z&until=2026-01-01T00:00:00Z",
            "by=model&since=2001-01-01T00:00:00Z",
            "model=fraud",
            "user=%00",
            "by=day&key=%00",
            "until=0001-01-01T00:00:00Z",
            "since=0001-01-01T00:00:00Z&until=0001-01-02T00:00:00Z",
            "until=9999-12-31T23:59:59Z&by=model",
        ],
    )
    def test_refuses_what_it_cannot_tell(self, alice, query):
        refused(alice.get(f"/usage?{query}"), 400, "bad_value")
