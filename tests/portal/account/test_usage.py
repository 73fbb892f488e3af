"""A holder's usage: from the totals alone, and it adds up."""

import datetime

import pytest
from django.utils import timezone

from keys import actions
from portal.account.usage import PERIODS, chart, read_limited_keys, summary
from proxy.models import Call, CallTotal
from proxy.models.totals import LATENCIES_MS
from tests.keys.people import key_of, queries
from tests.portal.account.test_urls import text

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]

USAGE = "/account/usage/"


def total(
    key, *, days: int = 0, calls: int = 1, status_class: int = 2, span: str = "day", **changes
) -> CallTotal:
    now = timezone.now().astimezone(datetime.UTC).replace(minute=0, second=0, microsecond=0)
    start = (now if span == "hour" else now.replace(hour=0)) - datetime.timedelta(days=days)
    latencies = [0] * (len(LATENCIES_MS) + 1)
    latencies[3] = calls
    fields = {"operation": "runs.get", "bytes_in": 1024, "bytes_out": 2048, "latencies": latencies}
    return CallTotal.objects.create(
        key=key,
        user=key.owner,
        span=span,
        start=start,
        calls=calls,
        status_class=status_class,
        **{**fields, **changes},
    )


def test_the_summary_is_of_the_last_30_days(dora):
    total(dora.key, calls=10)
    total(dora.key, days=29, calls=5, status_class=4)
    total(dora.key, days=29, calls=2, status_class=5)
    total(dora.key, days=30, calls=100)
    total(dora.key, calls=7, span="hour")

    found = summary(CallTotal.objects.filter(user=dora.user))

    assert found == {"calls": 17, "client_errors": 5, "server_errors": 2, "bytes": 3 * 3072}


@pytest.mark.parametrize(("name", "columns"), [("24h", 24), ("7d", 7), ("30d", 30), ("90d", 90)])
def test_the_chart_has_a_column_for_each_step(dora, name, columns):
    span = "hour" if name == "24h" else "day"
    total(dora.key, calls=3, span=span)
    total(dora.key, calls=2, status_class=4, span=span)
    total(dora.key, calls=1, status_class=5, span=span)

    found = chart(CallTotal.objects.all(), PERIODS[name])

    assert len(found) == columns
    assert (found[-1].passed, found[-1].client_errors, found[-1].server_errors) == (3, 2, 1)
    assert sum(column.passed for column in found) == 3


def test_without_calls_there_is_no_chart(dora):
    assert chart(CallTotal.objects.all(), PERIODS["30d"]) == []
    assert "No calls in this period." in text(dora.client.get(USAGE))


def test_the_page_adds_up_what_its_holder_used_and_reads_no_calls(dora, mallory):
    total(dora.key, calls=1234)
    total(mallory.key, calls=77_777)
    Call.objects.all().delete()

    for period in (*PERIODS, "nonsense"):
        shown = text(dora.client.get(USAGE, {"period": period}))
        assert ("1,234" in shown) is (period != "24h")
        assert "77,777" not in shown


def test_monthly_limits_show_how_much_is_used(dora):
    actions.change(key=dora.key, monthly_requests=4, monthly_bytes=30_720)
    total(dora.key, calls=3)
    total(dora.key, calls=50, status_class=4)  # refused: the limits do not count it, nor do the keys' pages

    [found] = read_limited_keys(dora.user)
    assert (found.requests.used, found.requests.percent) == (3, 75)
    assert (found.bytes.used, found.bytes.percent) == (3072, 10)
    shown = text(dora.client.get(USAGE))
    assert "3 of 4" in shown
    assert "3 KiB of 30 KiB" in shown


def test_the_page_asks_as_much_for_a_thousand_totals_as_for_ten(dora):
    def fill(count: int) -> None:
        for number in range(count):
            if number % 20 == 0:
                key = key_of(dora.user, f"key {count} {number}")
                actions.change(key=key, monthly_requests=1000)
            total(key, days=number % 20, operation=f"operation {count} {number}")

    fill(10)
    few = queries(lambda: dora.client.get(USAGE))
    fill(1000)

    assert queries(lambda: dora.client.get(USAGE)) == few
    assert queries(lambda: dora.client.get("/account/")) < 12
