"""Usage for accounting: periods, sums by user and key, totals, chart and CSV, for staff and for a key holder."""

import csv
import datetime
import io

import pytest
from django.core.management import call_command
from django.db.models import F
from django.test import Client
from django.utils import timezone

from keys.models import ApiKey
from proxy.lists.usage import MOST_ROWS
from proxy.lists.usage_report import UsageForm, make_report
from proxy.models import CallTotal, HourTotal
from proxy.models.totals import LATENCIES_MS
from tests.keys.people import key_of, queries, signed_in

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]

PAGE, EXPORT = "/admin/usage/", "/admin/usage/export/"
OWN, OWN_EXPORT = "/account/usage/report/", "/account/usage/download.csv"


def total(key: ApiKey, day: str, calls: int = 1, status_class: int = 2, **changes) -> None:
    fields = {
        "span": "day",
        "start": datetime.datetime.fromisoformat(f"{day}T00:00:00+00:00"),
        "user": key.owner,
        "operation": "runs.get",
        "bytes_in": 1024,
        "bytes_out": 2048,
        "latencies": [0] * (len(LATENCIES_MS) + 1),
    }
    made = CallTotal.objects.create(key=key, calls=calls, status_class=status_class, **{**fields, **changes})
    sums = {name: getattr(made, name) for name in ("calls", "bytes_in", "bytes_out")}
    hour, is_new = HourTotal.objects.get_or_create(
        start=made.start, status_class=status_class, defaults={"latencies": made.latencies, **sums}
    )
    if not is_new:  # as the writer does it, in one transaction
        HourTotal.objects.filter(pk=hour.pk).update(**{name: F(name) + value for name, value in sums.items()})


@pytest.fixture
def key(cast) -> ApiKey:
    """With calls on three days of two months."""
    key = key_of(cast["dora"])
    total(key, "2026-02-27", calls=3)
    total(key, "2026-02-28", calls=4, operation="runs.create")
    total(key, "2026-02-28", calls=2, status_class=4)
    total(key, "2026-03-01", calls=50)
    return key


def lines(client: Client, address: str = EXPORT, **query: str) -> list[dict[str, str]]:
    answer = client.get(address, query)
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))


FEBRUARY = {"since": "2026-02-01", "until": "2026-02-28"}


def test_sums_are_by_user_and_key_and_month(cast, alice, key):
    other = key_of(cast["bob"], "bobs")
    total(other, "2026-02-03", calls=7)

    page = alice.get(PAGE, FEBRUARY)

    report = page.context["report"]
    rows = [(row["start"].month, row["user"], row["key_id"], row["calls"]) for row in report.rows]
    assert rows == [(2, "bob", other.public_id, 7), (2, "dora", key.public_id, 9)]
    assert report.totals == {"calls": 16, "bytes_in": 4 * 1024, "bytes_out": 4 * 2048}
    assert [(row["user"], row["calls"]) for row in lines(alice, **FEBRUARY)] == [("bob", "7"), ("dora", "9")]
    text = page.content.decode()
    assert f'href="/admin/proxy/call/?key={key.public_id}"' in text
    assert "2026-02-01 to 2026-02-28 (UTC)" in text


def test_days_and_the_chart_have_each_its_calls(alice, key):
    report = alice.get(PAGE, {**FEBRUARY, "each": "day", "by": "user"}).context["report"]

    assert [(f"{row['start']:%m-%d}", row["calls"]) for row in report.rows] == [("02-27", 3), ("02-28", 6)]
    assert len(report.chart["rows"]) == 28
    assert report.chart["rows"][-2:] == [("2026-02-27", [3, 0, 0]), ("2026-02-28", [4, 2, 0])]
    assert [row["calls"] for row in lines(alice, **FEBRUARY, each="day")] == ["3", "6"]


def test_a_long_period_is_drawn_by_month_and_may_be_summed_as_a_whole(alice, key):
    year = {"since": "2026-01-15", "until": "2026-12-31", "each": "whole"}
    report = alice.get(PAGE, year).context["report"]

    assert [row["calls"] for row in report.rows] == [59]
    assert report.chart["rows"][:3] == [
        ("2026-01", [0, 0, 0]),
        ("2026-02", [7, 2, 0]),
        ("2026-03", [50, 0, 0]),
    ]
    assert [row["calls"] for row in lines(alice, **year)] == ["59"]
    assert [row["calls"] for row in lines(alice, **{**year, "each": "month"})] == ["9", "50"]


@pytest.mark.parametrize(
    ("query", "first", "last"),
    [
        ({}, "2026-03-01", "2026-03-09"),
        ({"span": "this_month"}, "2026-03-01", "2026-03-09"),
        ({"span": "last_month"}, "2026-02-01", "2026-02-28"),
        ({"span": "yesterday"}, "2026-03-08", "2026-03-08"),
        ({"span": "30d"}, "2026-02-08", "2026-03-09"),
        ({"since": "2026-03-02"}, "2026-03-02", "2026-03-09"),
        ({"until": "2026-02-10"}, "2026-02-01", "2026-02-10"),
    ],
)
def test_the_period_is_of_whole_days(db, monkeypatch, query, first, last):
    now = datetime.datetime(2026, 3, 9, 23, 59, tzinfo=datetime.UTC)
    monkeypatch.setattr(timezone, "now", lambda: now)

    report = make_report(UsageForm(query), CallTotal.objects.all())

    assert (str(report.first), str(report.last)) == (first, last)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"since": "2026-03-02", "until": "2026-03-01"}, "This day is before the first one."),
        ({"since": "1999-01-01"}, "A period has at most five years."),
        ({"since": "yesterday"}, "Write a day such as 2026-11-23."),
        ({"user": "nobody"}, "There is no user “nobody”."),
        ({"key": "nothing"}, "There is no key “nothing”."),
    ],
)
def test_a_wrong_value_is_said_and_exports_nothing(alice, query, words):
    assert words in alice.get(PAGE, query).content.decode()
    assert alice.get(EXPORT, query)["Location"].startswith(PAGE)


def test_it_is_of_one_user_or_key(cast, alice, key):
    other = key_of(cast["bob"], "bobs")
    total(other, "2026-02-03", calls=7)

    for query in ({"user": "bob"}, {"key": other.public_id}, {"key": "bobs"}):
        report = alice.get(PAGE, {**FEBRUARY, **query}).context["report"]
        assert [row["user"] for row in report.rows] == ["bob"]
        assert report.totals["calls"] == 7


def test_browsers_have_no_key(cast, alice, key):
    CallTotal.objects.filter(start__day=27).update(key=None)

    assert "Browser session" in alice.get(PAGE, FEBRUARY).content.decode()


def test_a_holder_sees_their_own_only(cast, key):
    total(key_of(cast["bob"], "bobs"), "2026-02-03", calls=777)
    dora = signed_in(cast["dora"])

    page = dora.get(OWN, {**FEBRUARY, "user": "bob", "key": "bobs"}).content.decode()

    assert "nightly training" in page
    assert "777" not in page
    assert [row["calls"] for row in lines(dora, OWN_EXPORT, **FEBRUARY, user="bob")] == ["9"]
    assert dora.get(OWN_EXPORT, {"since": "x"})["Location"].startswith(OWN)


def test_the_command_and_the_api_sum_by_month_too(alice, key, capsys):
    call_command("usage", "--by", "key,month", "--since", "2026-01-01", "--until", "2026-04-01", "--json")
    assert '"calls": 50' in capsys.readouterr().out
    query = {"by": "user,month", "since": "2026-01-01T00:00:00Z", "until": "2026-04-01T00:00:00Z"}
    found = alice.get("/api/v1/usage", query).json()["results"]
    assert [(row["start"][:10], row["calls"]) for row in found] == [("2026-03-01", 50), ("2026-02-01", 9)]
    assert alice.get("/api/v1/usage", {"by": "day,month"}).status_code == 400


def test_the_page_asks_as_much_for_many_keys_as_for_one(cast, alice, key):
    few = queries(lambda: alice.get(PAGE, FEBRUARY))
    for number in range(20):
        total(key_of(cast["dora"], f"key {number}"), "2026-02-03")

    assert (
        queries(lambda: alice.get(PAGE, FEBRUARY)) == few == 7
    )  # session, user, rows, their users, keys and organisations, chart


def test_the_export_has_more_rows_than_the_page(cast, alice, key, monkeypatch):
    for number in range(5):
        total(key_of(cast["dora"], f"key {number}"), "2026-02-03", calls=100)
    monkeypatch.setattr("proxy.lists.usage_report.MOST_ROWS", 3)

    page = alice.get(PAGE, FEBRUARY)
    report = page.context["report"]

    assert (report.is_cut, len(report.rows), report.totals["calls"]) == (True, 3, 509)
    assert "The table shows the rows with the most calls." in page.content.decode()
    assert len(lines(alice, **FEBRUARY)) == 6
    assert alice.get(PAGE, {**FEBRUARY, "user": "dora"}).context["report"].totals["calls"] == 509
    assert MOST_ROWS == 1000
