"""`list_users` and `deactivate_user`, and that `list_keys` tells when keys were last used."""

import json

import pytest
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.utils import timezone

from keys.models import ApiKey, User
from tests.keys.people import key_of

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


@pytest.fixture
def run(capsys):
    def command(*arguments: str) -> str:
        call_command(*arguments)
        return capsys.readouterr().out

    return command


def test_users_are_listed(cast, run):
    assert [line.split()[1] for line in run("list_users").splitlines()[1:]] == sorted(cast)
    [found] = json.loads(run("list_users", "--find", "dora", "--json"))
    assert (found["name"], found["id"], found["is_staff"]) == ("dora", cast["dora"].public_id, False)


def test_users_are_found_by_what_the_page_searches(cast, run):
    User.objects.filter(username="dora").update(email="d.smith@example.com")

    for text in ("DOR", cast["dora"].public_id, cast["dora"].public_id[4:], "smith@"):
        [found] = json.loads(run("list_users", "--find", text, "--json"))
        assert found["name"] == "dora"
    assert run("list_users", "--find", "nobody") == "No such users.\n"


def test_a_user_is_shut_out_with_all_keys_and_let_in_again(cast, run):
    key = key_of(cast["dora"])

    assert run("deactivate_user", "dora", "--reason", "left") == (
        f"dora is deactivated; paused: {key.public_id} “nightly training”.\n"
    )
    assert not User.objects.get(username="dora").is_active
    undone = json.loads(run("deactivate_user", cast["dora"].public_id, "--undo", "--json"))
    assert (undone["is_active"], [key["state"] for key in undone["paused"]]) == (True, ["paused"])


@pytest.mark.parametrize(
    "command",
    [
        ("list_keys", "--user"),
        ("invite_user", "--user"),
        ("remove_second_factors", "--user"),
        ("link_identity", "--subject", "sub-1", "--user"),
        ("blast_radius", "--since", "1h", "--user"),
    ],
)
def test_every_command_takes_a_users_name_or_id(cast, run, command):
    for text in ("dora", cast["dora"].public_id):
        SocialAccount.objects.all().delete()
        assert run(*command, text)
    if command[0] == "invite_user":  # makes who is not there
        return
    for text in ("nobody", "usr_0123456789abcdef"):
        with pytest.raises(CommandError, match=f"there is no user “{text}”; manage.py list_users"):
            run(*command, text)


def test_programs_read_what_was_done_to_a_user(cast, run):
    who = {"user": "dora", "user_id": cast["dora"].public_id}
    Authenticator.objects.create(user=cast["dora"], type="totp", data={"secret": "x"})

    linked = json.loads(run("link_identity", "--user", "dora", "--subject", "sub-1", "--json"))
    assert linked == {**who, "subject": "sub-1"}
    for removed in (1, 0):
        shown = json.loads(run("remove_second_factors", "--user", "dora", "--json"))
        assert shown == {**who, "removed": removed}


def test_nobody_is_called_as_ids_are(cast):
    with pytest.raises(CommandError, match="A user's name does not begin with usr_"):
        call_command("invite_user", "--user", "usr_0123456789abcdef")
    cast["dora"].username = "usr_dora"
    with pytest.raises(ValidationError, match="does not begin with usr_"):
        cast["dora"].full_clean()
    assert User.objects.count() == len(cast)


def test_the_last_superuser_stays(cast):
    with pytest.raises(CommandError, match="last superuser"):
        call_command("deactivate_user", "alice")
    with pytest.raises(CommandError, match="there is no user “nobody”; "):
        call_command("deactivate_user", "nobody")


def test_keys_are_listed_with_their_last_use(cast, run):
    key = key_of(cast["dora"])
    key_of(cast["bob"], "other")
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=timezone.now())

    assert (
        run("list_keys", "--find", "nightly").splitlines()[1].endswith(f"{timezone.now():%Y-%m-%d %H:%M} UTC")
    )
    assert run("list_keys", "--state", "revoked") == "No such keys.\n"
    assert json.loads(run("list_keys", "--json", "--user", "dora"))[0]["last_used_at"]
