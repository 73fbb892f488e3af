"""What is exported is what was found, all of it, as it was, however much it is."""

import csv
import datetime
import io
import json

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from keys.formatting.csv_export import in_pieces
from proxy.lists import exports
from proxy.models import Call, Registration
from tests.keys.people import call
from tests.proxy.ledger_rows import pending, row
from tests.proxy.logs import key_of

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


@pytest.fixture
def key():
    return key_of("alice")


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(exports, "CHUNK", 3)


def read_csv(lines) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(lines))))


def test_calls_come_latest_first_over_many_chunks_each_once(key, small_chunks):
    start = datetime.datetime.now(datetime.UTC)
    for number in range(10):
        call(key, number, at=start - datetime.timedelta(hours=9 * number), status=200 + number % 2)

    rows = read_csv(exports.csv_lines(exports.CALL_FIELDS, exports.calls(Call.objects.filter(status=200))))

    assert [line["request_id"] for line in rows] == [f"req_{number:032x}" for number in (0, 2, 4, 6, 8)]
    assert list(rows[0]) == exports.CALL_FIELDS
    assert (rows[0]["user"], rows[0]["key_id"]) == ("alice", key.public_id)
    assert datetime.datetime.fromisoformat(rows[0]["at"]) == start


def test_a_call_of_a_browser_has_no_key(key):
    made = call(key, 1)
    Call.objects.filter(pk=made.pk).update(key=None)

    [line] = exports.calls(Call.objects.all())

    assert (line["user"], line["key"], line["key_id"]) == ("alice", "", "")


def test_nothing_is_read_ahead(key, small_chunks, django_assert_max_num_queries):
    for number in range(10):
        call(key, number)

    with django_assert_max_num_queries(3):  # one chunk: the last day, ten days, everything
        next(exports.calls(Call.objects.all()))


def test_json_lines_hold_values_as_they_are(key, small_chunks):
    tags = {"hokusai_token_id": "-no", "note": "=1+1 “é”"}
    for number in range(5):
        row(key, "model-versions.create", "vision", version=str(number), tags=tags)
    pending(None, "registered-models.delete", "vision")

    lines = list(
        exports.json_lines(exports.REGISTRATION_FIELDS, exports.registrations(Registration.objects.all()))
    )
    rows = [json.loads(line) for line in lines]

    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    assert [found["request_id"] for found in rows] == list(
        Registration.objects.order_by("-id").values_list("request_id", flat=True)
    )
    assert (rows[0]["outcome"], rows[0]["user"], rows[0]["actor"], rows[0]["sequence"]) == (
        "pending",
        "",
        "test",
        None,
    )
    assert rows[1]["tags"] == tags
    assert rows[1]["tag_rules"] == "malformed"
    assert rows[1]["tag_problems"][0] == "hokusai_token_id starts or ends with a hyphen"


def test_tag_rules_are_said_as_they_stand_by_now_and_can_be_asked_for(key, small_chunks):
    good = {"hokusai_token_id": "abc", "benchmark_metric": "accuracy", "benchmark_value": "0.9"}
    for number in range(4):
        row(key, "model-versions.create", "vision", version=str(number), tags=good)
    row(key, "model-versions.delete-tag", "vision", version="2", tags={"benchmark_value": None})

    wanted = exports.registrations(Registration.objects.all(), keep=lambda _, state: state == "missing")

    assert [(found["version"], found["tag_rules"]) for found in wanted] == [("2", "missing")]


def test_quarantine_outweighs_the_tags(key):
    good = {"hokusai_token_id": "abc", "benchmark_metric": "accuracy", "benchmark_value": "0.9"}
    for number in ("1", "2"):
        row(key, "model-versions.create", "vision", version=number, tags=good)
    row(key, "model-versions.create", "prompt", version="1", is_prompt=True)
    for name in ("vision", "prompt"):
        tags = {"hokusai.quarantine": "leaked"}
        row(None, "model-versions.set-tag", name, version="1", actor="quarantine", tags=tags)

    def found(label: str) -> list[tuple[str, str]]:
        rows = exports.registrations(Registration.objects.all(), keep=lambda _, state: state == label)
        return [(row["object_name"], row["version"], row["tag_rules"]) for row in rows]

    assert found("quarantined") == [("prompt", "1", ""), ("vision", "1", "complete")]
    assert found("complete") == [("vision", "2", "complete")]
    [quarantined, *_] = exports.registrations(
        Registration.objects.filter(version="1", operation__endswith="e")
    )
    assert quarantined["quarantine"].startswith("in quarantine since ")


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_a_spreadsheet_computes_nothing(key, first):
    row(key, "registered-models.create", f"{first}cmd|' /C calc'!A0", tags={"a": "=1"})

    text = "".join(
        exports.csv_lines(exports.REGISTRATION_FIELDS, exports.registrations(Registration.objects.all()))
    )
    [line] = csv.DictReader(io.StringIO(text, newline=""))

    assert line["object_name"] == f"'{first}cmd|' /C calc'!A0"
    assert line["tags"] == '{"a": "=1"}'


def test_pieces_are_large_and_whole():
    lines = [f"{number}é\n" for number in range(1000)]

    pieces = list(in_pieces(lines, size=100))

    assert b"".join(pieces).decode() == "".join(lines)
    assert len(pieces) < 60


def test_each_chunk_costs_the_same(key, monkeypatch):
    for number in range(12):
        row(key, "model-versions.create", f"model {number}", version="1")

    def reading(size: int) -> int:
        monkeypatch.setattr(exports, "CHUNK", size)
        with CaptureQueriesContext(connection) as captured:
            list(exports.registrations(Registration.objects.all()))
        return len(captured)

    # Its rows, what became of their versions, and which of them are quarantined.
    assert reading(6) - reading(12) == 3
