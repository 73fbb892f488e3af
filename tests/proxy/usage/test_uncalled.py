"""What the portal refused before it became a call: attempts, refusals and totals, kept while PostgreSQL is away."""

import datetime

import pytest
from django.utils import timezone

from proxy.models import Call, CallTotal, HourTotal, KeylessAttempt, UncalledRequest
from proxy.usage.attempts import Refused
from tests.proxy.logs import NOON, finished_call, key_of

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def alice():
    return key_of("alice")


def test_attempts_without_a_key_are_added_up_and_kept_while_postgresql_is_away(writer):
    writer.attempts.add("no_key", "192.0.2.1", at=NOON)
    good, writer.parameters = writer.parameters, {"host": "/nonexistent", "dbname": "none"}
    writer.run_once()
    writer.attempts.add("no_key", "192.0.2.9", at=NOON)
    writer.parameters, writer.retry = good, 0
    writer.run_once()
    writer.attempts.add("no_key", "192.0.2.1", at=NOON)
    writer.run_once()

    [row] = KeylessAttempt.objects.all()
    assert (row.hour, row.network, row.count) == (NOON.replace(minute=0), "192.0.2.0/24", 3)


def test_refusals_are_kept_for_an_hour_and_while_postgresql_is_away(writer):
    def refused(number: int, at: datetime.datetime) -> Refused:
        words = {"status": 401, "reason": "no_key", "method": "GET", "path": "/api", "message": "No key."}
        return Refused(request_id=f"req_{number:032x}", at=at, **words)

    now = timezone.now()
    writer.attempts.keep(refused(1, now), "192.0.2.1")
    writer.attempts.keep(refused(2, now - datetime.timedelta(hours=2)), "192.0.2.1")
    good, writer.parameters = writer.parameters, {"host": "/nonexistent", "dbname": "none"}
    writer.run_once()
    writer.parameters, writer.retry = good, 0
    writer.run_once()

    [kept] = UncalledRequest.objects.all()
    assert UncalledRequest.find(kept.request_id) == kept
    assert (kept.request_id, kept.message) == (f"req_{1:032x}", "No key.")


def test_calls_over_a_limit_are_added_to_the_totals_and_kept_while_postgresql_is_away(writer, alice):
    refused = finished_call(alice, operation="", status=429, bytes_in=0, bytes_out=50).make_record(50)
    writer.attempts.add_refused(refused)
    good, writer.parameters = writer.parameters, {"host": "/nonexistent", "dbname": "none"}
    writer.run_once()
    writer.attempts.add_refused(refused)
    writer.parameters, writer.retry = good, 0
    writer.run_once()
    writer.attempts.add_refused(refused)
    writer.run_once()

    assert not Call.objects.exists()
    day, hour = CallTotal.objects.order_by("span")
    assert [(total.span, total.calls, total.bytes_out, total.status_class) for total in (day, hour)] == [
        ("day", 3, 150, 4),
        ("hour", 3, 150, 4),
    ]
    assert [total.calls for total in HourTotal.objects.all()] == [3]
