"""The log's partitions: made ahead, found by the clock that calls come with, dropped when their time is over."""

import datetime
import json
from contextlib import closing

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from django.db.utils import IntegrityError
from django.utils import timezone

from keys.database import connection_parameters
from proxy.models import Call, CallTotal, KeylessAttempt
from proxy.usage import partitions
from tests.proxy.logs import a_connection, key_of

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

TODAY = datetime.datetime.now(datetime.UTC).date()
FAR = datetime.date(2031, 5, 5)


@pytest.fixture(autouse=True)
def _partitions_as_they_were():
    yield
    with a_connection() as database:
        database.execute("truncate proxy_call")
        for day in partitions.days(database):
            if abs((day - TODAY).days) > 30:
                partitions.step(database, day, partitions.drop)
        partitions.remove_dropped(database)


def call(at: datetime.datetime, number: int = 1, **changes) -> Call:
    key = key_of(f"user{number}")
    fields = {"method": "GET", "path": "/", "status": 200, "duration_ms": 1.0, "key": key, "user": key.owner}
    return Call.objects.create(request_id=f"req_{number}", at=at, **{**fields, **changes})


def table_of(found: Call) -> str:
    with connection.cursor() as cursor:
        cursor.execute("select tableoid::regclass::text from proxy_call where id = %s", [found.pk])
        return cursor.fetchone()[0]


def at(day: datetime.date, time: str = "12:00") -> datetime.datetime:
    return datetime.datetime.fromisoformat(f"{day}T{time}:00+00:00")


def test_today_and_the_coming_week_have_partitions_from_the_start():
    with a_connection() as database:
        days = partitions.days(database)

    assert {TODAY + datetime.timedelta(days=ahead) for ahead in range(8)} <= days
    assert table_of(call(timezone.now())) == partitions.name_of(TODAY)


def test_midnight_utc_parts_the_days():
    with a_connection() as database:
        partitions.maintain(database, today=FAR, keep_days=36_500)

    assert table_of(call(at(FAR, "00:00"), 1)) == partitions.name_of(FAR)
    assert table_of(call(at(FAR, "23:59"), 2)) == partitions.name_of(FAR)
    assert table_of(call(at(FAR + datetime.timedelta(days=1), "00:00"), 3)) != partitions.name_of(FAR)


def test_a_call_from_a_clock_that_moved_is_kept_and_moves_when_its_day_is_made():
    found = call(at(FAR))
    assert table_of(found) == "proxy_call_default"

    with a_connection() as database:
        partitions.maintain(database, today=FAR, keep_days=36_500)

    assert table_of(found) == partitions.name_of(FAR)
    assert Call.objects.get(pk=found.pk).request_id == "req_1"


def test_maintaining_again_does_nothing():
    with a_connection() as database:
        assert partitions.maintain(database, today=FAR, keep_days=36_500) == (9, 0)
        assert partitions.maintain(database, today=FAR, keep_days=36_500) == (0, 0)


def test_a_day_past_retention_is_dropped_whole():
    with a_connection() as database:
        partitions.maintain(database, today=FAR, keep_days=36_500)
        old, kept = call(at(FAR), 1), call(at(FAR + datetime.timedelta(days=1)), 2)
        moved = call(at(datetime.date(2001, 1, 1)), 3)

        later = FAR + datetime.timedelta(days=31)
        partitions.maintain(database, today=later, keep_days=30)

        assert FAR not in partitions.days(database)
        assert FAR + datetime.timedelta(days=1) in partitions.days(database)
    assert set(Call.objects.values_list("pk", flat=True)) == {kept.pk}
    assert old.pk
    assert moved.pk
    with a_connection() as database:  # what that dropped and the other tests want
        partitions.maintain(database, today=TODAY, keep_days=36_500)


def tables_of_the_log() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("select relname from pg_class where relkind = 'r' and relname like 'proxy_call\\_%'")
        return {name for (name,) in cursor.fetchall()}


def test_a_maintainer_that_dies_after_the_drop_leaves_files_that_the_next_one_removes():
    with a_connection() as database:
        for _ in range(2):  # the second time, calls of that day have come late
            partitions.step(database, FAR, partitions.make)
            call(at(FAR))
            partitions.step(database, FAR, partitions.drop)

            assert not Call.objects.exists()
            assert f"{partitions.DROPPED}{FAR:%Y%m%d}" in tables_of_the_log()

        partitions.maintain(database, today=TODAY, keep_days=36_500)

    assert not [name for name in tables_of_the_log() if name.startswith(partitions.DROPPED)]


def test_what_else_is_kept_for_a_time_only():
    key = key_of("alice")
    now = timezone.now()
    for ago in (1, 100):
        hour = now.replace(minute=0, second=0, microsecond=0) - datetime.timedelta(days=ago)
        KeylessAttempt.objects.create(hour=hour, reason="no_key", network="", count=1)
        for span in CallTotal.Span:
            CallTotal.objects.create(
                span=span, start=hour, key=key, user=key.owner, status_class=2, latencies=[0] * 16
            )

    with a_connection() as database:
        partitions.maintain(database, today=TODAY, keep_days=50)

    assert KeylessAttempt.objects.count() == 1
    assert (CallTotal.objects.by_day().count(), CallTotal.objects.by_hour().count()) == (2, 1)


def test_a_reader_who_takes_his_time_does_not_stop_the_rest(monkeypatch):
    monkeypatch.setattr(partitions, "LOCK_SECONDS", 1)
    with a_connection() as database, closing(psycopg.connect(**connection_parameters())) as reader:
        partitions.maintain(database, today=FAR, keep_days=36_500)
        reader.execute("select count(*) from proxy_call")

        with pytest.raises(psycopg.errors.LockNotAvailable):
            partitions.step(database, FAR, partitions.drop)

        assert FAR in partitions.days(database)
        call(at(FAR))


def test_two_at_once_do_not_stand_in_each_others_way():
    from concurrent.futures import ThreadPoolExecutor

    def work(_: int) -> tuple[int, int]:
        with a_connection() as database:
            return partitions.maintain(database, today=FAR, keep_days=36_500)

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(work, range(4)))

    assert sum(days for days, _ in made) == 9


def test_the_command_says_what_it_did(capsys):
    call_command("partitions")

    assert "7 days ahead" in capsys.readouterr().out
    call_command("partitions", "--json")
    assert json.loads(capsys.readouterr().out) == {"days_ahead": 7, "made": 0, "dropped": 0}


@pytest.mark.parametrize("status", [0, 99, 600])
def test_a_status_that_is_none_is_refused(status):
    with pytest.raises(IntegrityError, match="call_has_http_status"):
        call(timezone.now(), status=status)


def test_a_request_is_there_once():
    now = timezone.now()
    call(now)
    with pytest.raises(IntegrityError, match="request_id_at"):
        call(now)
