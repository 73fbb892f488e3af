"""`list_calls`, `list_registrations` and `usage`: what an administrator reads and exports from the shell."""

import csv
import io
import json

import pytest
from django.core.management import CommandError, call_command

from proxy.lists.exports import CALL_FIELDS, REGISTRATION_FIELDS
from tests.keys.people import call, key_of, make_cast
from tests.proxy.api.test_calls import total
from tests.proxy.ledger_rows import row

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


@pytest.fixture
def cast(db):
    return make_cast()


@pytest.fixture
def run(capsys):
    def command(*arguments: str) -> str:
        call_command(*arguments)
        return capsys.readouterr().out

    return command


def parsed(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_calls_are_a_table_for_people(cast, run):
    call(key_of(cast["dora"]), 1, status=403, reason="scope", object_name="a\x1b[2Jb")
    out = run("list_calls")

    head, line = out.splitlines()
    assert head.split()[:4] == ["at", "status", "operation", "user"]
    assert "403" in line
    assert "scope" in line
    assert "\x1b" not in line


def test_calls_are_filtered_as_by_the_api_and_given_out_as_by_the_exports(cast, run):
    wanted = call(key_of(cast["dora"]), 1, status=403, reason="scope")
    call(key_of(cast["bob"]), 2)

    by_key = ["--key", wanted.key.public_id, "--since", "1h"]
    for options in (["--user", "dora"], ["--status", "4"], by_key, ["--refused", "true"]):
        [found] = json.loads(run("list_calls", "--json", *options))
        assert (found["request_id"], list(found)) == (wanted.request_id, CALL_FIELDS)
        assert parsed(run("list_calls", "--csv", *options))[0]["request_id"] == wanted.request_id
    assert len(json.loads(run("list_calls", "--json", "--limit", "1"))) == 1
    assert len(json.loads(run("list_calls", "--json", "--limit", "0"))) == 2
    assert run("list_calls", "--user", "nobody") == "No such calls.\n"
    with pytest.raises(CommandError, match="“-1” is no whole number from 0 up"):
        run("list_calls", "--limit=-1")


def test_registrations_are_listed_and_exported(cast, run):
    row(key_of(cast["dora"]), "registered-models.create", "doras")
    row(key_of(cast["bob"]), "registered-models.create", "bobs", outcome="refused_by_mlflow")

    assert "doras" in run("list_registrations", "--user", "dora").splitlines()[1]
    [found] = json.loads(run("list_registrations", "--json", "--outcome", "refused_by_mlflow"))
    assert (found["object_name"], list(found)) == ("bobs", REGISTRATION_FIELDS)
    assert [line["object_name"] for line in parsed(run("list_registrations", "--csv"))] == ["bobs", "doras"]
    row(key_of(cast["dora"]), "model-versions.create", "doras", version="1", tags={"hokusai_token_id": "-"})
    [found] = json.loads(run("list_registrations", "--json", "--rules", "malformed"))
    assert (found["version"], found["tag_rules"]) == ("1", "malformed")


def test_usage_is_summed(cast, run):
    total(key_of(cast["dora"]), 7), total(key_of(cast["bob"]), 2)

    assert run("usage").splitlines()[1].split()[:3] == [cast["dora"].public_id, "dora", "7"]
    [found] = json.loads(run("usage", "--by", "operation,day", "--json", "--user", "bob"))
    assert (found["operation"], found["calls"]) == ("runs.create", 2)
    assert [line["calls"] for line in parsed(run("usage", "--by", "key", "--csv"))] == ["7", "2"]


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (["list_calls", "--since", "soon"], "--since: “soon” is no time"),
        (["list_calls", "--status", "9"], "--status: Select a valid choice"),
        (["list_registrations", "--outcome", "good"], "--outcome: Select a valid choice"),
        (["usage", "--by", "colour"], "--by: Some of key, user"),
        (["usage", "--by", "model", "--since", "90d"], "--since: By model: at most 31 days"),
    ],
)
def test_what_cannot_be_listed_is_said_in_one_line(db, command, problem):
    with pytest.raises(CommandError) as caught:
        call_command(*command)

    assert problem in str(caught.value)
    assert caught.value.returncode == 1
