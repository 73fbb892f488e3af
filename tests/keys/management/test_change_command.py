"""`change_key` and `list_events`: rights from the shell, and what was done to keys."""

import json

import pytest
from django.core.management import CommandError, call_command

from keys import actions
from keys.models import ApiKey
from tests.keys.people import by, key_of

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


@pytest.fixture
def run(capsys):
    def command(*arguments: str) -> str:
        call_command(*arguments)
        return capsys.readouterr().out

    return command


def test_only_what_is_given_is_changed(cast, run):
    key = key_of(cast["dora"])
    options = ("--network", "10.0.0.0/8", "--monthly-bytes", "1G", "--expires-in", "90d", "--any-owner")

    changed = json.loads(run("change_key", key.public_id, "--json", *options))
    assert (changed["networks"], changed["monthly_bytes"], changed["any_owner"]) == (
        ["10.0.0.0/8"],
        2**30,
        True,
    )
    assert changed["scopes"] == key.scopes
    undone = (
        "--anywhere",
        "--monthly-bytes",
        "none",
        "--expires-in",
        "never",
        "--own-only",
        "--preset",
        "reader",
    )
    assert "is changed" in run("change_key", key.public_id, *undone)
    key = ApiKey.objects.get(pk=key.pk)
    assert (key.networks, key.monthly_bytes, key.expires_at, key.any_owner) == ([], None, None, False)
    events = json.loads(run("list_events", "--key", key.public_id, "--json"))
    assert [event["kind"] for event in events] == ["changed", "changed", "issued"]
    assert "dora" in run("list_events", "--kind", "issued")


def test_events_are_filtered_as_by_the_page(cast, run):
    key = key_of(cast["dora"])
    actions.pause(key=key, actor=by(cast["bob"]))

    def kinds(*options: str) -> list[str]:
        return [event["kind"] for event in json.loads(run("list_events", "--json", *options))]

    assert kinds("--actor", "bob") == kinds("--actor", cast["bob"].public_id) == ["paused"]
    assert kinds("--since", "1h") == kinds("--until", "2999-01-01") == ["paused", "issued"]
    assert kinds("--until", "1h") == kinds("--since", "2999-01-01") == []
    assert run("list_events", "--actor", "charlie") == "No such events.\n"


def test_events_are_exported_as_by_the_page(cast, run, alice):
    key = key_of(cast["dora"], name="=cmd()")
    actions.pause(key=key, actor=by(cast["bob"]))

    exported = alice.get("/admin/keys/keyevent/export/").getvalue().decode()
    assert run("list_events", "--csv") == exported
    assert run("list_events", "--csv", "--limit", "1").splitlines() == exported.splitlines()[:2]
    assert run("list_events", "--csv", "--kind", "issued").splitlines()[1:] == exported.splitlines()[2:]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--since", "soon"], "--since: “soon” is no time"),
        (["--until", "soon"], "--until: “soon” is no time"),
        (["--actor", "nobody"], "there is no user “nobody”"),
        (["--key", "key_x"], "there is no key “key_x”"),
        (["--csv", "--json"], "not allowed with argument"),
    ],
)
def test_events_that_cannot_be_listed_are_said_so_in_one_line(db, options, problem):
    with pytest.raises(CommandError, match=problem):
        call_command("list_events", *options)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ([], "give at least one option to change"),
        (["--network", "here"], "--network: “here” is not a network"),
        (["--scope", "registry:read", "--scope", "all"], '--scope: "all" is not a valid choice'),
        (["--pattern", "x" * 257], "--pattern: Ensure this field has no more than 256 characters"),
        (["--expires-in", "soon"], "--expires-in: “soon” is no time"),
        (["--preset", "full", "--scope", "registry:read"], "not both"),
        (["--monthly-bytes", "lots"], "--monthly-bytes: “lots” is not a size"),
        (["--name", ""], "--name"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(cast, options, problem):
    key = key_of(cast["dora"])

    with pytest.raises(CommandError) as caught:
        call_command("change_key", key.public_id, *options)
    assert problem in str(caught.value)
    assert key.events.count() == 1
