"""From the spool to PostgreSQL: calls and their totals, in one transaction, once."""

import datetime
import os
import random
import time

import psycopg
import pytest
from django.db.models import Count, Sum

from keys import actions
from keys.credentials.caller import Caller
from keys.models import Organisation
from proxy.lists.filters import CallFilters
from proxy.lists.usage import sum_usage
from proxy.models import Call, CallTotal, HourTotal
from proxy.usage import batches, recording, spool
from proxy.usage import writer as writer_module
from proxy.usage.record import CallCorrection
from tests.proxy.logs import NOON, finished_call, key_of

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def alice():
    return key_of("alice")


def ids() -> list[str]:
    return sorted(Call.objects.values_list("request_id", flat=True))


def test_a_call_and_its_totals_are_written_together(writer, alice):
    finished_call(alice, bytes_in=7, bytes_out=70).record()
    assert ids() == []

    writer.run_once()

    call = Call.objects.get()
    assert (call.key, call.user, call.at, call.bytes_out) == (alice, alice.owner, NOON, 70)
    day, hour = CallTotal.objects.order_by("span")
    assert (day.start, hour.start) == (NOON.replace(hour=0, minute=0), NOON.replace(minute=0))
    for total in (day, hour):
        assert (total.key, total.user, total.operation, total.status_class) == (
            alice,
            alice.owner,
            "runs.get",
            2,
        )
        assert (total.calls, total.bytes_in, total.bytes_out, total.duration_ms) == (
            1,
            7,
            70,
            call.duration_ms,
        )
        assert sum(total.latencies) == 1


def test_sessions_have_totals_of_each_organisation(writer, alice):
    lab = Organisation.objects.create(slug="lab", name="Lab")
    for number, organisation in enumerate((alice.organisation, lab, lab)):
        call = finished_call(alice, number)
        call.caller = Caller.by_session(alice.owner, organisation=organisation)
        call.record()
    writer.run_once()

    assert sorted(Call.objects.values_list("organisation__slug", flat=True)) == ["lab", "lab", "shared"]
    totals = CallTotal.objects.by_day().order_by("organisation_id").values_list("organisation__slug", "calls")
    assert list(totals) == [("shared", 1), ("lab", 2)]
    rows = sum_usage(
        by=["organisation"], since=None, until=None, rows=CallTotal.objects, narrow=lambda rows: rows
    )
    assert [(row["organisation"], row["calls"]) for row in rows] == [("lab", 2), ("shared", 1)]
    assert CallFilters({"organisation": "lab"}, Call.objects.all()).qs.count() == 2


def test_browsers_calls_have_no_key_and_one_total(writer, alice):
    """PostgreSQL takes two empty keys for different unless told; and one batch holds both kinds."""
    by_browser = Caller.by_session(alice.owner, organisation=alice.organisation)
    for number in range(3):
        finished_call(alice, number, caller=by_browser if number else Caller.by_key(alice)).record()
        writer.run_once() if number == 1 else None
    writer.run_once()

    assert sorted(Call.objects.values_list("key", flat=True), key=str) == [alice.pk, None, None]
    days = CallTotal.objects.by_day().values_list("key", "user", "calls")
    assert sorted(days, key=str) == sorted(
        [(alice.pk, alice.owner.pk, 1), (None, alice.owner.pk, 2)], key=str
    )


def test_totals_are_what_the_log_adds_up_to(writer, alice):
    chance, keys = random.Random(1), [alice, key_of("bob")]
    for number in range(300):
        finished_call(
            chance.choice(keys),
            number,
            at=NOON + datetime.timedelta(minutes=chance.randrange(3000)),
            operation=chance.choice(["runs.get", "runs.log-batch", ""]),
            status=chance.choice([200, 201, 403, 502]),
            bytes_in=chance.randrange(10**9),
            bytes_out=chance.randrange(10**9),
            started=time.perf_counter() - chance.random() * 10,
        ).record()
        if number % 70 == 0:
            writer.run_once()
    writer.run_once()

    fields = ("bytes_in", "bytes_out", "duration_ms")
    in_log = Call.objects.values("key", "operation").annotate(
        calls=Count("id"), **{name: Sum(name) for name in fields}
    )
    by_day = CallTotal.objects.by_day().grouped("key", "operation")
    by_hour = CallTotal.objects.by_hour().grouped("key", "operation")
    for row in in_log:
        where = {"key": row["key"], "operation": row["operation"]}
        for totals in (by_day.get(**where), by_hour.get(**where)):
            assert totals == {**row, "duration_ms": pytest.approx(row["duration_ms"])}
    by_class = CallTotal.objects.by_hour().grouped("start", "status_class")
    assert len(by_class) == HourTotal.objects.count()
    for row in by_class:
        hour = HourTotal.objects.get(start=row["start"], status_class=row["status_class"])
        assert (hour.calls, hour.bytes_in, hour.bytes_out) == (
            row["calls"],
            row["bytes_in"],
            row["bytes_out"],
        )
        assert sum(hour.latencies) == hour.calls
    sums = CallTotal.objects.by_day().sums()
    assert (sums["calls"], sum(sums["latencies"])) == (300, 300)
    assert CallTotal.objects.by_day().failed().sums()["calls"] == Call.objects.failed().count()


def test_nothing_is_written_twice_or_lost_if_the_commits_answer_is(writer, alice, monkeypatch):
    """Whether it went through only PostgreSQL knows."""
    for number in range(3):
        finished_call(alice, number).record()
    real, failed = psycopg.Connection.transaction, []

    class Broken:
        def __init__(self, inner):
            self.inner = inner

        def __enter__(self):
            return self.inner.__enter__()

        def __exit__(self, *error):
            self.inner.__exit__(*error)
            if not failed:
                failed.append(True)
                raise psycopg.OperationalError("the connection is gone")

    monkeypatch.setattr(psycopg.Connection, "transaction", lambda self: Broken(real(self)))
    writer.run_once()
    assert failed
    writer.retry = 0
    finished_call(alice, 3).record()
    writer.run_once()

    assert len(ids()) == len(set(ids())) == 4
    assert CallTotal.objects.by_day().sums()["calls"] == 4


def test_a_batch_that_does_not_go_through_leaves_nothing(writer, alice, monkeypatch):
    finished_call(alice, 1).record()
    monkeypatch.setattr(batches, "ADD_TOTAL", "select 1/0, %s" + ", %s" * 10)
    monkeypatch.setattr(
        writer_module.Writer, "write_singly", lambda *_: (_ for _ in ()).throw(psycopg.OperationalError())
    )
    writer.run_once()
    assert (ids(), CallTotal.objects.count()) == ([], 0)

    monkeypatch.undo()
    writer.retry = 0
    writer.run_once()
    assert len(ids()) == 1


def test_what_a_dead_process_left_is_taken_over_from_where_it_had_got_to(writer, alice, tmp_path):
    finished_call(alice, 1).record()
    writer.run_once()
    finished_call(alice, 2).record()
    [dead] = writer.calls.segments
    writer.calls.segments = []
    dead.close()

    writer.scan = 0
    writer.run_once()
    writer.scan = 0
    writer.run_once()

    assert [name[-1] for name in ids()] == ["1", "2"]
    assert list(writer.calls.folder.glob("*.log")) == []


def test_the_same_segment_from_a_backup_changes_nothing(writer, alice):
    finished_call(alice, 1).record()
    [segment] = writer.calls.segments
    copy = segment.path.read_bytes()
    writer.run_once()
    writer.calls.close()
    segment.path.write_bytes(copy)

    writer.scan = 0
    writer.run_once()

    assert len(ids()) == 1
    assert CallTotal.objects.by_day().sums()["calls"] == 1


def test_a_call_that_postgresql_refuses_does_not_hold_up_the_others(writer, alice):
    for number in range(4):
        finished_call(alice, number, status=1000 if number == 2 else 200).record()
    recording.calls.append(b'["call","of another version"]')
    finished_call(alice, 5).record()

    writer.run_once()

    assert [name[-1] for name in ids()] == ["0", "1", "3", "5"]
    rejected = (writer.calls.folder / "rejected.jsonl").read_text().splitlines()
    assert [f"req_{2:032x}" in rejected[1], "of another version" in rejected[0]] == [True, True]
    assert CallTotal.objects.by_day().sums()["calls"] == 4


@pytest.mark.parametrize("is_late", [False, True])
def test_an_answer_cut_off_after_its_record_is_corrected(is_late, writer, alice):
    call = finished_call(alice, bytes_out=0)
    call.record(bytes_out=5000)
    if is_late:
        writer.run_once()
    call.bytes_out, call.reason = 1200, "cut_off"
    call.record()
    call.record()
    writer.run_once()

    row = Call.objects.get()
    assert (row.bytes_out, row.reason) == (1200, "cut_off")
    sums = CallTotal.objects.by_day().sums()
    assert (sums["calls"], sums["bytes_out"], sums["duration_ms"]) == (
        1,
        1200,
        pytest.approx(row.duration_ms),
    )


def test_a_correction_in_a_dead_processs_later_segment_finds_its_call(writer, alice, monkeypatch):
    monkeypatch.setattr(spool, "ROLL_BYTES", 1)
    calls = [finished_call(alice, number, bytes_out=0) for number in range(8)]
    for call in calls:
        call.record(bytes_out=5000)
    for call in calls:
        call.bytes_out, call.reason = 1200, "cut_off"
        call.record()
    for segment in writer.calls.segments:
        segment.close()
    writer.calls.segments = []

    writer.run_once()

    assert set(Call.objects.values_list("bytes_out", "reason")) == {(1200, "cut_off")}
    assert CallTotal.objects.by_day().sums()["bytes_out"] == 8 * 1200


def test_a_correction_that_finds_no_call_is_said(writer, alice, caplog):
    recording.append(
        CallCorrection(request_id="req_none", at=NOON, reason="cut_off", bytes_out=-10, duration_ms=1.0)
    )
    writer.run_once()

    [said] = [record for record in caplog.records if record.message == "correction_without_call"]
    assert said.request_id == "req_none"


@pytest.mark.parametrize("damage", [b"\0", b"\n"])
def test_a_damaged_stretch_larger_than_a_batch_stops_nothing(damage, writer, alice, monkeypatch):
    monkeypatch.setattr(writer_module, "BATCH_BYTES", 500)
    for number in range(12):
        finished_call(alice, number).record()
    [segment] = writer.calls.segments
    ends = [place for place, byte in enumerate(segment.path.read_bytes()) if byte == ord("\n")]
    os.pwrite(segment.descriptor, damage * (ends[10] - ends[1] - 1), ends[1] + 1)  # the first is the head's
    writer.run_once()
    writer.retry = 0
    finished_call(alice, 12).record()
    writer.run_once()

    assert [name[-2:] for name in ids()] == ["00", "0a", "0b", "0c"]


def test_text_that_postgresql_cannot_hold_is_held_all_the_same(writer, alice):
    from proxy.routes.objects import ObjectRef

    name = "a\0b\ud800c"
    finished_call(
        alice, client="caf\xc3\xa9 \xff", path="/x\0y", named_object=ObjectRef(kind="run", name=name)
    ).record()
    writer.run_once()

    call = Call.objects.get()
    assert (call.client, call.path, call.object_name) == ("café \ufffd", "/x\ufffdy", "a\ufffdb?c")


def test_the_last_use_of_a_key_is_noted(writer, alice):
    finished_call(alice, 1, at=NOON).record()
    writer.run_once()
    finished_call(alice, 2, at=NOON + datetime.timedelta(seconds=5)).record()
    writer.run_once()

    alice.refresh_from_db()
    assert (alice.last_used_at, alice.last_used_address) == (NOON, "192.0.2.1")
    assert (alice.last_used_client, alice.previous_used_at) == ("mlflow-python-client/3.17.2", None)


@pytest.mark.parametrize("end", ["a minute has passed", "the process ends"])
def test_the_last_use_of_a_burst_is_noted_too(end, writer, alice):
    for number in range(3):
        finished_call(alice, number, at=NOON + datetime.timedelta(seconds=5 * number)).record()
        writer.run_once()
    if end == "the process ends":
        writer.stopping.set()
    else:
        writer.uses_written = {
            name: at - writer_module.USE_SECONDS for name, at in writer.uses_written.items()
        }
    writer.run_once()

    alice.refresh_from_db()
    assert alice.last_used_at == NOON + datetime.timedelta(seconds=10)
    assert writer.uses == {}


@pytest.mark.parametrize("overlap", ["24h", "now"])
def test_a_use_noted_after_a_rotation_is_of_the_secret_before(overlap, writer, alice):
    for number in range(2):
        finished_call(alice, number, at=NOON + datetime.timedelta(seconds=5 * number)).record()
        writer.run_once()
    actions.rotate(key=alice, overlap=overlap)
    writer.stopping.set()
    writer.run_once()

    alice.refresh_from_db()
    kept = NOON + datetime.timedelta(seconds=5) if overlap == "24h" else None
    assert (alice.last_used_at, alice.previous_used_at) == (None, kept)


def test_postgresql_away_is_said_once_and_waited_for(writer, alice, caplog):
    finished_call(alice).record()
    good, writer.parameters = writer.parameters, {"host": "/nonexistent", "dbname": "none"}
    for _ in range(3):
        writer.retry = 0
        writer.run_once()
    assert recording.spool_state().backlog == 1
    writer.parameters, writer.retry = good, 0
    writer.run_once()

    assert len(ids()) == 1
    assert recording.spool_state().backlog == 0
    assert [record.message for record in caplog.records] == [
        "usage_writer_waits",
        "usage_writer_goes_on",
    ]
