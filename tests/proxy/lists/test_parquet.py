"""Calls and usage as Parquet, read back with pyarrow."""

import datetime
import io

import pyarrow.parquet
import pytest

from proxy.lists import exports, parquet
from tests.keys.people import call, signed_in
from tests.proxy.logs import key_of

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


def read(answer) -> pyarrow.parquet.ParquetFile:
    assert answer["Content-Type"] == "application/vnd.apache.parquet"
    return pyarrow.parquet.ParquetFile(io.BytesIO(b"".join(answer.streaming_content)))


def test_the_log_is_written_by_row_group_with_its_types(cast, monkeypatch):
    monkeypatch.setattr(parquet, "ROWS", 2)
    made = [call(key_of("carol"), number) for number in range(3)]

    file = read(signed_in(cast["alice"]).get("/admin/proxy/call/export/?form=parquet"))
    rows = file.read().to_pylist()

    assert (file.num_row_groups, file.schema_arrow.names) == (2, exports.CALL_FIELDS)
    assert [row["request_id"] for row in rows] == [each.request_id for each in reversed(made)]
    assert (rows[0]["at"], rows[0]["status"]) == (made[-1].at, made[-1].status)
    assert rows[0]["at"].utcoffset() == datetime.timedelta()


@pytest.mark.parametrize("path", ["/account/calls/download.parquet", "/account/usage/download.parquet"])
def test_holders_get_their_own(cast, path):
    assert read(signed_in(cast["dora"]).get(path)).num_row_groups == 0


def test_without_pyarrow_it_is_neither_offered_nor_written(cast, monkeypatch):
    monkeypatch.setattr(parquet, "is_available", lambda: False)
    alice = signed_in(cast["alice"])

    assert "parquet" not in alice.get("/admin/proxy/call/").content.decode()
    assert alice.get("/account/calls/download.parquet").status_code == 404
    assert alice.get("/admin/usage/export/?form=parquet").status_code == 302
