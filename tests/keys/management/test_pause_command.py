"""`manage.py pause_key` and `resume_key`."""

import json

import pytest
from django.core.management import CommandError, call_command

from keys import actions
from keys.models import ApiKey, User
from tests.keys.people import key_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def key() -> ApiKey:
    return key_of(User.objects.create(username="dora"), name="training")


def said(capsys, *arguments: str) -> str:
    call_command(*arguments)
    return capsys.readouterr().out


def test_they_say_what_was_done_and_what_was_so_already(capsys, key):
    name = f"Key {key.public_id} “training” of dora"

    assert said(capsys, "pause_key", key.public_id, "--reason", "odd") == f"{name} is paused.\n"
    assert said(capsys, "pause_key", key.public_id) == f"{name} was already paused.\n"
    assert json.loads(said(capsys, "pause_key", key.public_id, "--json"))["state"] == "paused"
    assert said(capsys, "resume_key", key.public_id) == f"{name} is resumed.\n"
    assert said(capsys, "resume_key", key.public_id) == f"{name} was not paused.\n"

    assert [event.kind for event in key.events.all()] == ["resumed", "paused", "issued"]
    assert key.events.get(kind="paused").detail == {"reason": "odd"}


@pytest.mark.parametrize("command", ["pause_key", "resume_key"])
def test_a_revoked_key_and_one_that_is_none_are_refused_in_one_line(key, command):
    actions.revoke(key=key)

    with pytest.raises(CommandError, match="the key was revoked on"):
        call_command(command, key.public_id)
    with pytest.raises(CommandError, match="there is no key “key_x”"):
        call_command(command, "key_x")
