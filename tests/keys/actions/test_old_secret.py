"""The old secret of a rotation is ended alone, and who still used it can be read before."""

import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from keys import actions
from keys.credentials import authentication, tokens
from keys.credentials.lookup import find_key
from keys.lists import old_secret
from keys.models import ApiKey, User
from keys.refusals import Refusal
from tests.keys.people import by, call, page_of, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def pair(cast) -> tuple[ApiKey, str, str]:
    """A key of dora's whose rotation overlaps, its old secret and its new one."""
    key, old = actions.issue(owner=cast["dora"], name="training")
    key, new = actions.rotate(key=key, overlap="7d")
    return key, old, new


def caller_with(secret: str):
    match = find_key(tokens.parse(secret))
    return authentication.check_state(match.key, match.is_previous)


def used(key: ApiKey, number: int, **changes) -> None:
    call(key, number, **{"is_previous_secret": True, "address": "192.0.2.9", "client": "cron", **changes})


def test_the_old_secret_ends_and_the_new_one_goes_on(cast, pair):
    key, old, new = pair
    assert caller_with(old).is_previous

    key = actions.end_old_secret(key=key, actor=by(cast["dora"], "192.0.2.7"))

    with pytest.raises(Refusal) as refused:
        caller_with(old)
    assert refused.value.reason == "rotated_key"
    assert not caller_with(new).is_previous
    assert key.state == "active"
    event = key.events.first()
    assert (event.kind, event.actor, event.address) == ("old_secret_ended", cast["dora"], "192.0.2.7")
    assert event.detail == {"masked": key.previous_masked}


def test_without_an_old_secret_that_works_nothing_ends(pair):
    key = actions.end_old_secret(key=pair[0])

    with pytest.raises(actions.ActionError, match="no old secret"):
        actions.end_old_secret(key=key)
    actions.revoke(key=key)
    with pytest.raises(actions.ActionError, match="was revoked"):
        actions.end_old_secret(key=key)
    assert key.events.filter(kind="old_secret_ended").count() == 1


def test_only_superusers_end_that_of_a_superuser(cast):
    key, _ = actions.issue(owner=cast["alice"], name="training")
    actions.rotate(key=key, overlap="7d")

    with pytest.raises(actions.NotAllowed):
        actions.end_old_secret(key=key, actor=by(cast["bob"]))


def test_its_use_is_counted_by_address_and_client_since_the_rotation(pair):
    key = pair[0]
    for number in range(3):
        used(key, number)
    used(key, 3, address="192.0.2.10", client="notebook")
    used(key, 4, at=timezone.now() - timedelta(days=1))  # of an earlier overlap
    call(key, 5)  # with the new secret

    use = old_secret.read_old_secret_use(key)

    assert (use.calls, use.is_cut) == (4, False)
    assert [(row["address"], row["client"], row["calls"]) for row in use.callers] == [
        ("192.0.2.9", "cron", 3),
        ("192.0.2.10", "notebook", 1),
    ]


def test_only_the_latest_calls_are_counted(pair, monkeypatch):
    monkeypatch.setattr(old_secret, "MOST_CALLS", 2)
    for number in range(3):
        used(pair[0], number)

    use = old_secret.read_old_secret_use(pair[0])

    assert (use.calls, use.is_cut) == (2, True)


@pytest.mark.parametrize(("name", "end"), [("bob", "end_old_secret"), ("dora", "end-old-secret")])
def test_the_pages_show_who_uses_it_and_end_it(cast, pair, name, end):
    key = pair[0]
    used(key, 1)
    client = signed_in(cast[name])
    page = page_of(key) if name == "bob" else f"/account/keys/{key.public_id}/"
    button = page_of(key, end) if name == "bob" else f"{page}{end}/"

    shown = client.get(page).content.decode()
    assert button in shown
    for text in (shown, client.get(button).content.decode()):
        assert "1 call with the old secret since the rotation." in text
        assert "192.0.2.9" in text
        assert "cron" in text
    assert ApiKey.objects.get().has_old_secret

    answer = client.post(button, follow=True).content.decode()

    assert "no longer works. The new one goes on." in answer
    assert button not in answer
    assert "with the old secret since" not in answer
    assert "no old secret that still works" in client.post(button, follow=True).content.decode()
    assert ApiKey.objects.get().events.first().actor == cast[name]


def test_another_holder_finds_no_such_key(cast, pair):
    erin = signed_in(User.objects.create_user("erin"))

    assert erin.post(f"/account/keys/{pair[0].public_id}/end-old-secret/").status_code == 404
    assert ApiKey.objects.get().has_old_secret


def test_the_command_lists_who_uses_it_and_ends_it(capsys, pair):
    key = pair[0]
    used(key, 1)

    call_command("end_old_secret", key.public_id, "--show")
    assert "192.0.2.9" in capsys.readouterr().out
    call_command("end_old_secret", key.public_id, "--show", "--json")
    shown = json.loads(capsys.readouterr().out)
    assert (shown["previous"]["masked"], shown["calls"]) == (key.previous_masked, 1)
    call_command("end_old_secret", key.public_id)
    assert "accepts only its new secret now." in capsys.readouterr().out
    with pytest.raises(CommandError, match="no old secret"):
        call_command("end_old_secret", key.public_id)
