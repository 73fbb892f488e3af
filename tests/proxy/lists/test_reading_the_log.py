"""Pages of the usage log, and what its totals say."""

import datetime
import random

import pytest

from proxy.models import Call, CallTotal, HourTotal
from proxy.models.calls import Cursor
from proxy.models.totals import LATENCIES_MS, percentile
from proxy.usage import spool
from proxy.usage.record import from_timestamp
from tests.proxy.logs import NOON, a_connection, finished_call, key_of

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def alice():
    return key_of("alice")


def test_pages_follow_each_other_without_gap_or_repetition(alice):
    Call.objects.all().delete()
    chance = random.Random(2)
    spread = [NOON + datetime.timedelta(minutes=chance.randrange(60 * 24 * 40)) for _ in range(60)] + [
        NOON
    ] * 40
    for number, at in enumerate(spread):
        Call.objects.create(
            request_id=f"req_{number}", at=at, key=alice, user=alice.owner, method="GET", path="/", status=200,
            duration_ms=1,
        )  # fmt: skip
    found: list[Call] = []
    cursor = None
    while page := Call.objects.filter(key=alice).page(after=cursor, size=7):
        found += page
        cursor = Cursor.parse(str(page[-1].cursor))

    assert [call.pk for call in found] == [call.pk for call in Call.objects.order_by("-at", "-id")]
    assert len(found) == 100
    with a_connection() as database:
        database.execute("truncate proxy_call")


def test_a_page_back_is_the_page_that_came_before(alice):
    for number in range(9):
        Call.objects.create(
            request_id=f"req_{number}", at=NOON + datetime.timedelta(days=number // 3), key=alice, user=alice.owner,
            method="GET", path="/", status=200, duration_ms=1,
        )  # fmt: skip
    first = Call.objects.all().page(size=3)
    second = Call.objects.all().page(after=first[-1].cursor, size=3)

    assert Call.objects.all().page_before(second[0].cursor, size=3) == first
    assert Call.objects.all().page_before(first[0].cursor, size=3) == []
    with a_connection() as database:
        database.execute("truncate proxy_call")


def test_totals_of_all_keys_add_up_by_hour_and_day(writer, alice):
    bob = key_of("bob")
    for number, (key, minutes, status) in enumerate(
        [(alice, 0, 200), (bob, 5, 201), (alice, 10, 500), (bob, 60, 200), (bob, 24 * 60, 200)]
    ):
        finished_call(key, number, at=NOON + datetime.timedelta(minutes=minutes), status=status).record()
    writer.run_once()

    hour, day = NOON.replace(minute=0), NOON.replace(hour=0, minute=0)
    found = [(row["step"], row["status_class"], row["calls"]) for row in HourTotal.objects.all().by("hour")]
    assert found[:3] == [(hour, 2, 2), (hour, 5, 1), (hour + datetime.timedelta(hours=1), 2, 1)]
    days = HourTotal.objects.between(day, day + datetime.timedelta(days=1)).by("day")
    assert [(row["step"], row["status_class"], row["calls"]) for row in days] == [(day, 2, 3), (day, 5, 1)]
    assert [sum(row["latencies"]) for row in days] == [3, 1]


def test_what_stands_out_in_the_log_and_in_its_totals(writer, alice):
    from proxy.routes.objects import ObjectRef

    bob = key_of("bob")
    fraud, churn = (ObjectRef(kind="registered_model", name=name) for name in ("fraud", "churn"))
    cases = [(alice, fraud, 200, ""), (alice, fraud, 403, "not_owner"), (bob, churn, 403, "scope")]
    cases += [(bob, fraud, 403, "not_owner"), (bob, None, 502, "upstream_broken"), (bob, None, 200, "")]
    for number, (key, thing, status, reason) in enumerate(cases):
        finished_call(key, number, named_object=thing, status=status, reason=reason).record()
    writer.run_once()
    calls = Call.objects.between(NOON - datetime.timedelta(days=1), NOON + datetime.timedelta(days=1))

    models = [(row["object_name"], row["calls"]) for row in calls.top_objects("registered_model")]
    assert models == [("fraud", 3), ("churn", 1)]
    assert {call.reason for call in calls.about("registered_model", "fraud").failed()} == {"not_owner"}
    assert calls.of_class(5).get().reason == "upstream_broken"
    totals = CallTotal.objects.by_day()
    assert [(row["user__username"], row["calls"]) for row in totals.top_keys()] == [("bob", 4), ("alice", 2)]
    assert totals.top_operations() == [
        {
            "operation": "runs.get",
            "calls": 6,
            "bytes_in": 60,
            "bytes_out": 600,
            "duration_ms": pytest.approx(sum(call.duration_ms for call in calls)),
        }
    ]
    assert totals.failed().sums()["calls"] == 4


@pytest.mark.parametrize(
    ("latencies", "share", "milliseconds"),
    [
        ({}, 0.5, None),
        ({100: 10}, 0.5, 75.0),
        ({1: 50, 1000: 50}, 0.5, 1.0),
        ({1: 50, 1000: 50}, 0.95, 950.0),
        ({None: 4}, 0.95, 60_000),
    ],
)
def test_percentiles_are_read_from_the_histogram(latencies, share, milliseconds):
    row = [latencies.get(bound, 0) for bound in (*LATENCIES_MS, None)]

    assert percentile(row, share) == milliseconds


def test_segments_are_known_by_name_and_place(writer, alice):
    finished_call(alice, 1).record()
    writer.run_once()
    [segment] = writer.calls.segments

    with a_connection() as database:
        rows = database.execute("select name, taken from proxy_spoolsegment").fetchall()
    assert (segment.name, segment.size) in rows
    assert segment.size > spool.START
    assert from_timestamp(0).tzinfo is datetime.UTC
