"""The spool's format: what a record holds, and that the files of former versions are still read."""

import datetime
import json
import zlib
from pathlib import Path

import pytest

from keys.models import ApiKey
from proxy.models import Call, CallTotal
from proxy.usage.record import COLUMNS, CallCorrection, CallRecord, decode, ended_at
from tests.proxy.logs import finished_call, key_of

AT = datetime.datetime(2026, 3, 4, 12, 30, 1, 250_001, tzinfo=datetime.UTC)
RECORD = CallRecord(
    request_id="req_1",
    at=AT,
    key_id=7,
    user_id=3,
    operation="runs.get",
    method="GET",
    path="/café",
    object_kind="run",
    object_name="6" * 32,
    status=200,
    reason="cut_off",
    bytes_in=11,
    bytes_out=222,
    duration_ms=44.505,
    upstream_ms=3.5,
    address="192.0.2.1",
    client="mlflow",
    client_version="3.17.2",
    is_previous_secret=True,
)
CORRECTION = CallCorrection(request_id="req_1", at=AT, reason="cut_off", bytes_out=-3800, duration_ms=0.066)


@pytest.mark.parametrize("record", [RECORD, RECORD._replace(organisation_id=2), CORRECTION])
def test_a_record_is_decoded_as_it_was_encoded(record):
    assert decode(record.encode()) == record
    assert record.encode().isascii()
    assert b"\n" not in record.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"7",
        b"\xff",
        b'["call","of another version"]',
        b'["call","req_1","noon"]',
        b'["call","req_1",1e300]',
        b'["correction","req_1",1.0,"cut_off",-1]',
        b'["correction","req_1",1.0,"cut_off",-1,0.5,"more"]',
        b'["other","req_1",1.0,"cut_off",-1,0.5]',
        RECORD.encode().replace(b"true]", b"true,2,1]"),
    ],
)
def test_what_is_not_a_record_is_a_value_error(content):
    with pytest.raises(ValueError):
        decode(content)


def test_a_correction_is_the_difference_between_two_records():
    cut_off = RECORD._replace(reason="cut_off", bytes_out=100, duration_ms=50.0)
    assert RECORD.corrected(cut_off.difference_from(RECORD)) == cut_off


@pytest.mark.postgresql
@pytest.mark.django_db
def test_the_columns_are_those_of_the_table():
    columns = {field.column for field in Call._meta.concrete_fields} - {"id"}
    assert len(COLUMNS) == len(columns)
    assert set(COLUMNS) == columns


# A copy of the format of commit fc760ae, in which calls may wait on a disk while the portal is upgraded. Do not change.
OLD_HEADER = b"%020d\n"
OLD_LINES = """\
["call","req_00000000000000000000000000000001",1772627401.25,{key},{user},"runs.log-batch","POST",\
"/api/mlflow/api/2.0/mlflow/runs/log-batch","run","66666666666666666666666666666666",200,"",11,222,44.505,3.5,\
"192.0.2.1","mlflow-python-client/3.17.2","3.17.2",true]
["call","req_00000000000000000000000000000002",1772627402.25,null,{user},"registered-models.get","GET",\
"/mlflow/ajax-api/2.0/mlflow/registered-models/get","registered_model","caf\\u00e9 \\u4e2d",200,"",11,222,44.507,3.5,\
null,"caf\\u00e9","",false]
["call","req_00000000000000000000000000000003",1772627403.25,{key},{user},"runs.log-batch","POST",\
"/api/mlflow/api/2.0/mlflow/runs/log-batch","run","66666666666666666666666666666666",403,"not_owner",11,180,44.502,\
0.0,"192.0.2.1","mlflow-python-client/3.17.2","3.17.2",false]
["call","req_00000000000000000000000000000004",1772627404.25,{key},{user},"artifacts.download","POST",\
"/api/mlflow/api/2.0/mlflow/runs/log-batch","run","66666666666666666666666666666666",200,"",11,5000,44.502,3.5,\
"192.0.2.1","mlflow-python-client/3.17.2","3.17.2",false]
["correction","req_00000000000000000000000000000004",1772627404.25,"cut_off",-3800,0.0659999999999954]
"""
OLD_CHECKSUMS = ["767a5147", "ccb4ae6c", "8b7d4644", "a6f8bab4", "81fed733"]  # with the key 7 and the user 3


def old_segment(*, key: int, user: int) -> bytes:
    lines = OLD_LINES.replace("{key}", str(key)).replace("{user}", str(user)).encode().splitlines()
    return OLD_HEADER % 21 + b"".join(b"%08x %b\n" % (zlib.crc32(line), line) for line in lines)


def leave_segment(folder: Path, content: bytes) -> None:
    """As a killed portal does."""
    folder.mkdir(exist_ok=True)
    (folder / f"{'0' * 32}-0000001.log").write_bytes(content)


def test_the_copy_of_the_old_format_is_what_that_commit_wrote():
    lines = old_segment(key=7, user=3).decode().splitlines()
    assert [line[:8] for line in lines[1:]] == OLD_CHECKSUMS


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_a_spool_of_an_older_portal_is_written_to_postgresql_once_each_value_in_its_column(writer):
    alice = key_of("alice")
    leave_segment(writer.calls.folder, old_segment(key=alice.pk, user=alice.owner.pk))
    writer.run_once()
    leave_segment(writer.calls.folder, old_segment(key=alice.pk, user=alice.owner.pk))  # not removed in time
    writer.scan = 0.0
    writer.run_once()

    rows = list(Call.objects.order_by("at").values())
    second = datetime.timedelta(seconds=1)
    first = {
        "request_id": "req_00000000000000000000000000000001",
        "at": datetime.datetime(2026, 3, 4, 12, 30, 1, 250_000, tzinfo=datetime.UTC),
        "key_id": alice.pk,
        "user_id": alice.owner.pk,
        "operation": "runs.log-batch",
        "method": "POST",
        "path": "/api/mlflow/api/2.0/mlflow/runs/log-batch",
        "object_kind": "run",
        "object_name": "6" * 32,
        "status": 200,
        "reason": "",
        "bytes_in": 11,
        "bytes_out": 222,
        "duration_ms": 44.505,
        "upstream_ms": 3.5,
        "address": "192.0.2.1",
        "client": "mlflow-python-client/3.17.2",
        "client_version": "3.17.2",
        "is_previous_secret": True,
        "organisation_id": 1,
        "subject": "",
    }
    by_browser = {
        "request_id": "req_00000000000000000000000000000002",
        "at": first["at"] + second,
        "key_id": None,
        "operation": "registered-models.get",
        "method": "GET",
        "path": "/mlflow/ajax-api/2.0/mlflow/registered-models/get",
        "object_kind": "registered_model",
        "object_name": "café 中",
        "duration_ms": 44.507,
        "address": None,
        "client": "café",
        "client_version": "",
        "is_previous_secret": False,
    }
    refused = {
        "request_id": "req_00000000000000000000000000000003",
        "at": first["at"] + 2 * second,
        "status": 403,
        "reason": "not_owner",
        "bytes_out": 180,
        "duration_ms": 44.502,
        "upstream_ms": 0.0,
        "is_previous_secret": False,
    }
    cut_off = {
        "request_id": "req_00000000000000000000000000000004",
        "at": first["at"] + 3 * second,
        "operation": "artifacts.download",
        "reason": "cut_off",
        "bytes_out": 1200,
        "duration_ms": pytest.approx(44.568),
        "is_previous_secret": False,
    }
    assert [{**row, "id": None} for row in rows] == [
        {**first, **changes, "id": None} for changes in ({}, by_browser, refused, cut_off)
    ]
    assert CallTotal.objects.by_day().sums()["calls"] == 4
    key = ApiKey.objects.get(pk=alice.pk)
    assert key.previous_used_at == first["at"]
    assert key.last_used_at == cut_off["at"]
    assert not list(writer.calls.folder.glob("*.log"))


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_the_format_is_still_the_old_one(writer):
    """An older portal may read it, where an upgrade is undone."""
    alice = key_of("alice")
    finished_call(alice, bytes_in=11, bytes_out=222).record()
    [segment] = writer.calls.waiting()

    line = segment.path.read_bytes().splitlines()[1]
    assert line[:9] == b"%08x " % zlib.crc32(line[9:])
    kind, request_id, at, key, user, *rest = json.loads(line[9:])
    assert (kind, request_id, at) == ("call", f"req_{0:032x}", 1772627400.0)
    assert (key, user) == (alice.pk, alice.owner.pk)
    assert rest[:7] == ["runs.get", "GET", "/api/mlflow/api/2.0/mlflow/runs/get", "", "", 200, ""]
    assert (rest[7:9], rest[11:]) == (
        [11, 222],
        ["192.0.2.1", "mlflow-python-client/3.17.2", "", False],
    )


def test_a_record_says_when_its_call_ended():
    record = ["call", "req", 100.0, *range(11), 2000.0, 1.0, None, "", "", False]
    assert ended_at(json.dumps(record).encode()) == 102.0
    assert ended_at(b'["correction","req",50.0,"cut_off",-1,5.0]') == 50.0
    assert ended_at(b"[]") is None
