"""The admin's lists as files: what the list shows, all of it, for those who may see the list."""

import csv
import io
import json
import re
import secrets
from pathlib import Path
from random import Random
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test.utils import CaptureQueriesContext

from keys import actions
from keys.formatting import csv_export
from keys.models import User
from proxy.models import Owner
from tests.keys.people import KEYS, SECRET, USERS, key_of, signed_in

OWNERS = "/admin/proxy/owner/"

LISTS = [KEYS, USERS, OWNERS, "/admin/keys/keyevent/", "/admin/admin/logentry/"]


def more(count: int) -> None:
    """So many more rows in each of the lists, the users with rights."""
    for _ in range(count):
        user = User.objects.create(username=secrets.token_hex(4))
        user.groups.set(Group.objects.all())
        user.user_permissions.add(Permission.objects.get(codename="view_apikey"))
        Owner.objects.create(
            environment="live", kind="run", name=user.username, user=user, key=key_of(user, user.username)
        )
        LogEntry.objects.create(user=user, content_type=ContentType.objects.first(), action_flag=CHANGE)


def file(client, address: str, **asked: str) -> list[dict[str, str]]:
    response = client.get(f"{address}export/", asked)
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert "no-store" in response["Cache-Control"]
    return list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode(), newline="")))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (";=1", ";'=1"),
        ("a | -1", "a | '-1"),
        (" =1", "' =1"),
        ("\uff1d1", "'\uff1d1"),
        ("|x", "'|x"),
        ("\t=1", "'\t'=1"),
        ("a\t=1", "a\t'=1"),
        ("a,-1", "a,'-1"),
        ("a\n@x", "a\n'@x"),
        ('a;"=1', "a;\"'=1"),
        ("'=1", "''=1"),
        ("';'=1", "';''=1"),
        ({"=b": ["+1", "-2"], "a": "-1"}, """{"=b": ["+1", "'-2"], "a": "-1"}"""),
        ("a-b; c+d", "a-b; c+d"),
        (-3, "'-3"),
        ("", ""),
        (None, ""),
    ],
)
def test_a_cell_computes_nothing_whatever_parts_the_cells(value, shown):
    assert csv_export.cell(value) == shown


def test_keys_are_in_it_without_their_secrets(cast, alice):
    key, secret = actions.issue(owner=cast["dora"], name="=cmd()", scopes=["tracking:read", "registry:read"])

    [row] = file(alice, KEYS)

    assert (row["id"], row["name"], row["owner"], row["state"]) == (
        key.public_id,
        "'=cmd()",
        "dora",
        "active",
    )
    assert row["scopes"] == "tracking:read registry:read"
    assert row["created_at"].endswith("+00:00")
    assert not SECRET.search(str(row))
    assert secret[8:-4] not in str(row)


def test_it_has_what_the_list_shows_with_these_filters(cast, alice):
    key_of(cast["dora"], "first")
    actions.revoke(key=key_of(cast["dora"], "second"), reason="old")

    assert [row["name"] for row in file(alice, KEYS, state="revoked")] == ["second"]
    assert [row["name"] for row in file(alice, KEYS, q="first")] == ["first"]
    assert 'href="export/?state=revoked"' in alice.get(KEYS, {"state": "revoked"}).content.decode()


def test_a_filter_that_is_none_leads_to_the_list(alice):
    assert alice.get(f"{KEYS}export/", {"owner__id__exact": "nobody"})["Location"] == "../?e=1"


def test_users_are_in_it_with_their_rights(cast, alice):
    User.objects.filter(username="dora").update(email="dora@example.org")
    key_of(cast["dora"])

    rows = {row["username"]: row for row in file(alice, USERS)}

    assert (rows["dora"]["email"], rows["dora"]["keys"], rows["dora"]["role"]) == (
        "dora@example.org",
        "1",
        "key holder",
    )
    assert "change_apikey" in rows["bob"]["permissions"].split()
    assert rows["alice"]["role"] == "superuser"


def test_owners_are_in_it(cast, alice):
    key = key_of(cast["dora"])
    Owner.objects.create(environment="live", kind="run", name="a run", user=cast["dora"], key=key)
    Owner.objects.create(environment="test", kind="experiment", name="7", user=None, is_shared=True)

    shared, run = file(alice, OWNERS)

    assert (run["owner"], run["key_id"], run["is_shared"]) == ("dora", key.public_id, "False")
    assert (shared["owner"], shared["environment"], shared["is_shared"]) == ("", "test", "True")


@pytest.mark.parametrize("address", LISTS)
@pytest.mark.parametrize("name", ["charlie", "dora"])
def test_who_may_not_see_the_list_gets_no_file(cast, name, address):
    assert signed_in(cast[name]).get(f"{address}export/").status_code in (302, 403)


@pytest.mark.parametrize("address", LISTS)
def test_it_goes_on_beyond_what_is_read_at_once_and_costs_the_same_however_many_there_are(
    cast, alice, address, monkeypatch
):
    def reading(size: int) -> tuple[int, int]:
        """How many rows and queries it is, with so many rows read at a time."""
        monkeypatch.setattr(csv_export, "CHUNK", size)
        with CaptureQueriesContext(connection) as captured:
            rows = len(file(alice, address))
        return rows, len(captured)

    more(6)
    few, once = reading(1000)
    more(12)

    assert reading(1000) == (few + 12, once)
    assert reading(4)[0] == few + 12


HOSTILE = ["=", "+", "-", "@", "|", "'", '"', " ", "\t", ",", ";", "\r", "\n", "a", "1", "\uff1d", "\u3000"]


def hostile_texts(count: int) -> list[str]:
    random = Random(7)
    return ["".join(random.choices(HOSTILE, k=random.randint(1, 7))) for _ in range(count)]


def test_every_cell_is_restored_from_the_file():
    texts = hostile_texts(3000)
    line = csv_export.csv_line(texts)

    [row] = csv.reader(io.StringIO(line, newline=""))

    assert [csv_export.restore(cell) for cell in row] == texts


@pytest.mark.parametrize("separators", [",", ";", "\t", "|", ",;\t"])
def test_no_cell_begins_with_a_formula_at_whatever_a_program_splits(separators):
    """Read as a spreadsheet does: a quote opens a quoted cell only at the cell's beginning."""
    for text in hostile_texts(3000):
        for cell in naive_cells(csv_export.csv_line(["x", text, "y"]), separators):
            assert not cell.startswith(tuple("=+-@\uff1d\uff0b\uff0d\uff20")), (text, cell)


def naive_cells(line: str, separators: str) -> list[str]:
    cells, at = [], 0
    while at < len(line):
        cell, quoted = "", line[at] == '"'
        at += quoted
        while at < len(line) and (quoted or line[at] not in f"{separators}\r\n"):
            if quoted and line[at] == '"':
                quoted = line[at : at + 2] == '""'
                at += 1
                if not quoted:
                    continue
            cell, at = cell + line[at], at + 1
        cells.append(cell.strip())
        at += 1
    return cells


def test_json_lines_have_the_same_rows_with_values_as_they_are(cast, alice):
    key_of(cast["dora"], "=cmd()")

    response = alice.get(f"{KEYS}export/jsonl/")
    [row] = [json.loads(line) for line in b"".join(response.streaming_content).decode().splitlines()]

    assert response["Content-Type"] == "application/x-ndjson"
    assert (row["name"], row["any_owner"], row["expires_at"]) == ("=cmd()", False, None)
    assert row["created_at"].endswith("Z")
    assert 'href="export/jsonl/?state=active"' in alice.get(KEYS, {"state": "active"}).content.decode()


def test_the_document_shows_a_function_that_restores_cells():
    text = Path("docs/integrations.md").read_text(encoding="utf-8")
    [code] = [
        block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "def restore" in block
    ]
    shown: dict[str, Any] = {}
    exec(code, shown)

    for text in hostile_texts(1000):
        assert shown["restore"](csv_export.cell(text)) == text
