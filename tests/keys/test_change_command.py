"""`change_key` and `list_events`: rights from the shell, and what was done to keys."""

import json

import pytest
from django.core.management import CommandError, call_command

from keys.models import ApiKey
from tests.keys.people import key_of

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


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ([], "give what is to be changed"),
        (["--network", "here"], "--network: “here” is no network"),
        (["--scope", "registry:read", "--scope", "all"], '--scope: "all" is not a valid choice'),
        (["--pattern", "x" * 257], "--pattern: Ensure this field has no more than 256 characters"),
        (["--expires-in", "soon"], "--expires-in: “soon” is no time"),
        (["--preset", "full", "--scope", "registry:read"], "not both"),
        (["--monthly-bytes", "lots"], "--monthly-bytes: “lots” is no amount"),
        (["--name", ""], "--name"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(cast, options, problem):
    key = key_of(cast["dora"])

    with pytest.raises(CommandError) as caught:
        call_command("change_key", key.public_id, *options)
    assert problem in str(caught.value)
    assert key.events.count() == 1
