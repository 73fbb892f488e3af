"""The chain of completed rows, and what `verify_ledger` says of it."""

import json
import re

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from proxy.ledger import verification
from proxy.models import chain
from tests.proxy.ledger_rows import pending, row

pytestmark = pytest.mark.postgresql


@pytest.fixture
def three(key):
    return [row(key, "registered-models.create", name, tags={"ä": "ü ✓"}) for name in ("one", "two", "three")]


def as_superuser(statement: str) -> None:
    """SQL with every trigger off."""
    with connection.cursor() as cursor:
        cursor.execute("set constraints all immediate")
        cursor.execute("set local session_replication_role = replica")
        cursor.execute(statement)
        cursor.execute("set local session_replication_role = origin")


def test_the_chain_is_as_python_computes_it(three):
    previous = chain.GENESIS
    for number, found in enumerate(three, start=1):
        assert found.digest == found.computed_digest
        assert (found.sequence, found.hash) == (number, chain.compute_hash(previous, number, found.digest))
        previous = found.hash


def verify(capsys, *arguments) -> tuple[int, str, str]:
    capsys.readouterr()
    try:
        call_command("verify_ledger", *arguments)
        status = 0
    except SystemExit as ended:
        status = ended.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_whole_ledger_is_told_so(three, key, capsys, django_assert_num_queries):
    pending(key, "registered-models.create", "four")

    with django_assert_num_queries(
        11
    ):  # the stamped heads, the triggers, the rows by one cursor in a savepoint, the time-stamps' triggers,
        # time-stamps, the manifests' triggers, manifests, their rows; pending
        status, out, _ = verify(capsys)

    assert status == 0
    assert out.startswith("The ledger is whole: 3 rows in one chain, 1 more pending")


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        (
            "update proxy_registration set source = 's3://elsewhere' where sequence = 2",
            "row 2 .* was changed",
        ),
        ("update proxy_registration set address = '10.6.6.6' where sequence = 2", "row 2 .* was changed"),
        (
            "update proxy_registration set at = at - interval '1 us' where sequence = 2",
            "row 2 .* was changed",
        ),
        ("update proxy_registration set tags = '{}' where sequence = 2", "row 2 .* was changed"),
        ("update keys_apikey set public_id = 'key_x'", "row 1 .* was changed"),
        ("delete from proxy_registration where sequence = 2", "row 2 is missing: after row 1 comes row 3"),
        ("delete from proxy_registration where sequence < 3", "rows from 1 on are missing: after row 0"),
        (
            "update proxy_registration set hash = repeat('a', 64) where sequence = 2",
            "row 2 .* does not follow",
        ),
        (
            "update proxy_registration set sequence = 9 where sequence = 2; "
            "update proxy_registration set sequence = 2 where sequence = 3; "
            "update proxy_registration set sequence = 3 where sequence = 9",
            "row 2 .registered-models.create of three, .* does not follow",
        ),
        (
            "alter table proxy_registration disable trigger registration_keep",
            "registration_keep is missing or",
        ),
    ],
)
def test_what_a_superuser_changed_with_triggers_off_is_found(statement, problem, three, capsys):
    as_superuser(statement)

    status, out, err = verify(capsys)

    assert status == 1
    assert re.search(problem, err), err
    assert not out


def export(capsys, file) -> None:
    status, out, _ = verify(capsys, "--head")
    assert status == 0
    with file.open("a") as heads:
        heads.write(out)


def test_an_exported_head_is_still_in_the_chain_as_it_grows(three, key, capsys, tmp_path):
    file = tmp_path / "heads.jsonl"
    export(capsys, file)
    row(key, "registered-models.delete", "one")
    export(capsys, file)

    assert [json.loads(line)["sequence"] for line in file.read_text().splitlines()] == [3, 4]
    assert verify(capsys, "--since-head", str(file))[0] == 0


def test_a_tail_that_was_cut_off_is_found_by_an_exported_head(three, capsys, tmp_path):
    file = tmp_path / "heads.jsonl"
    export(capsys, file)
    as_superuser("delete from proxy_registration where sequence = 3")

    assert verify(capsys)[0] == 0  # by itself the chain looks whole
    status, _, err = verify(capsys, "--since-head", str(file))

    assert status == 1
    assert "it reached row 3 when its head was recorded" in err
    assert "and ends with row 2 now" in err


def test_a_chain_that_was_hashed_anew_is_found_by_an_exported_head(three, key, capsys, tmp_path):
    file = tmp_path / "heads.jsonl"
    export(capsys, file)
    as_superuser("delete from proxy_registration where sequence = 3")
    row(key, "registered-models.create", "three", source="forged")

    assert verify(capsys)[0] == 0
    status, _, err = verify(capsys, "--since-head", str(file))

    assert status == 1
    assert "the chain was rewritten: row 3 had the hash" in err


@pytest.mark.parametrize("content", ["", "nonsense", "[]", '{"hash": "x"}'])
def test_a_file_without_heads_is_said_so(content, db, tmp_path):
    file = tmp_path / "heads"
    file.write_text(content)

    with pytest.raises(CommandError, match="--since-head"):
        call_command("verify_ledger", "--since-head", str(file))


def test_an_empty_ledger_is_whole_and_has_no_head(db, capsys):
    assert verify(capsys)[0] == 0
    with pytest.raises(CommandError, match="empty"):
        call_command("verify_ledger", "--head")


def test_the_walk_takes_the_same_memory_however_long_the_chain(three, monkeypatch):
    monkeypatch.setattr(verification, "CHUNK", 1)

    assert verification.verify().rows == 3


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_person_at_a_terminal_sees_how_far_it_has_got(three, capsys, monkeypatch, is_terminal):
    monkeypatch.setattr(verification, "PROGRESS_ROWS", 2)
    monkeypatch.setattr("django.core.management.base.OutputWrapper.isatty", lambda wrapper: is_terminal)

    call_command("verify_ledger")

    assert ("2 rows verified …" in capsys.readouterr().err) is is_terminal
