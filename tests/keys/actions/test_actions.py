"""What is done to keys: the row and its event, in one transaction, once."""

import datetime

import pytest
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from keys import actions
from keys.actions import ActionError
from keys.credentials import tokens
from keys.models import ApiKey, KeyEvent, User
from keys.rights.scopes import Preset, Scope
from tests.keys.people import by

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice")


@pytest.fixture
def bob() -> User:
    return User.objects.create_user("bob", is_staff=True)


@pytest.fixture
def key(alice) -> ApiKey:
    return actions.issue(owner=alice, name="training")[0]


def kinds(key: ApiKey) -> list[str]:
    return list(key.events.order_by("id").values_list("kind", flat=True))


def test_issuing_makes_a_row_and_an_event(alice, bob):
    key, secret = actions.issue(owner=alice, name="training", actor=by(bob, "203.0.113.9"))

    token = tokens.parse(secret)
    assert (key.owner, key.name, key.environment, key.state) == (alice, "training", "live", "active")
    assert (key.prefix, key.last4, key.created_by) == (token.prefix, token.last4, bob)
    assert key.digest == tokens.digest(token, settings.KEY_PEPPERS[0])
    assert key.scopes == list(Preset.CONTRIBUTOR.scopes)
    [event] = key.events.all()
    assert (event.kind, event.actor, event.address) == ("issued", bob, "203.0.113.9")


def test_nothing_that_is_stored_holds_the_secret(alice):
    key, secret = actions.issue(owner=alice, name="training")

    stored = str(list(ApiKey.objects.values())) + str(list(KeyEvent.objects.values())) + repr(key) + str(key)
    assert secret[12:34] not in stored
    assert secret[8:34] not in stored


def test_a_key_whose_event_cannot_be_written_is_not_issued(alice, monkeypatch):
    def fail(*args, **options):
        raise IntegrityError("no event")

    monkeypatch.setattr(KeyEvent.objects, "create", fail)
    with pytest.raises(IntegrityError), transaction.atomic():
        actions.issue(owner=alice, name="training")

    assert not ApiKey.objects.exists()


def test_a_revocation_whose_event_cannot_be_written_did_not_happen(key, monkeypatch):
    def fail(*args, **options):
        raise IntegrityError("no event")

    monkeypatch.setattr(KeyEvent.objects, "create", fail)
    with pytest.raises(IntegrityError), transaction.atomic():
        actions.revoke(key=key)

    assert ApiKey.objects.get().state == "active"


@pytest.mark.parametrize(
    ("rights", "problem"),
    [
        ({"scopes": ["tracking:erase"]}, "tracking:erase"),
        ({"scopes": []}, "at least one scope"),
        ({"networks": ["10.0.0.1/8"]}, "10.0.0.1/8"),
        ({"networks": ["here"]}, "here"),
        ({"patterns": ["x" * 257]}, "256"),
        ({"requests_per_minute": 0}, "requests per minute: a whole number from 1"),
        ({"requests_per_minute": 2**31}, "requests per minute"),
        ({"monthly_bytes": -1}, "monthly bytes"),
        ({"expires_at": timezone.now() - datetime.timedelta(seconds=1)}, "past"),
    ],
)
def test_rights_that_are_none_are_refused_in_words(alice, rights, problem):
    with pytest.raises(ActionError, match=problem):
        actions.issue(owner=alice, name="training", **rights)

    assert not ApiKey.objects.exists()


def test_an_unknown_environment_is_refused(alice):
    with pytest.raises(tokens.InvalidToken):
        actions.issue(owner=alice, name="training", environment="prod")


def test_revoking_is_for_good_and_happens_once(key, bob):
    first = actions.revoke(key=key, reason="leaked", actor=by(bob))
    second = actions.revoke(key=key, reason="again")

    assert first.state == second.state == "revoked"
    assert second.revoked_at == first.revoked_at
    assert second.revoked_reason == "leaked"
    assert kinds(key) == ["issued", "revoked"]
    assert key.events.get(kind="revoked").detail == {"reason": "leaked"}
    for action in (actions.pause, actions.resume, actions.rotate):
        with pytest.raises(ActionError, match="revoked"):
            action(key=key)
    with pytest.raises(ActionError, match="revoked"):
        actions.change(key=key, name="other")


def test_revoking_keeps_what_an_older_copy_does_not_know(key):
    stale = ApiKey.objects.get(pk=key.pk)
    actions.change(key=key, name="renamed")
    actions.revoke(key=stale)

    assert ApiKey.objects.get().name == "renamed"


def test_a_pause_lasts_until_it_is_lifted(key):
    assert actions.pause(key=key).state == "paused"
    actions.pause(key=key)
    assert actions.resume(key=key).state == "active"
    actions.resume(key=key)

    assert kinds(key) == ["issued", "paused", "resumed"]


def test_a_change_is_an_event_with_before_and_after(key):
    actions.change(key=key, scopes=[Scope.REGISTRY_READ], name="training")
    actions.change(key=key, scopes=["registry:read"])

    assert kinds(key) == ["issued", "changed"]
    detail = key.events.get(kind="changed").detail
    assert detail["after"] == {"scopes": ["registry:read"]}
    assert detail["before"] == {"scopes": list(Preset.CONTRIBUTOR.scopes)}


def test_a_limit_is_narrowed_and_lifted_by_events(key):
    actions.change(key=key, requests_per_minute=60, monthly_bytes=2**30)
    actions.change(key=key, requests_per_minute=None)

    narrowed, lifted = key.events.filter(kind="changed").order_by("id")
    assert narrowed.detail["after"] == {"requests_per_minute": 60, "monthly_bytes": 2**30}
    assert lifted.detail == {"before": {"requests_per_minute": 60}, "after": {"requests_per_minute": None}}


@pytest.mark.parametrize("name", ["owner", "digest", "environment", "revoked_at", "public_id"])
def test_what_a_key_is_cannot_be_changed(key, name):
    with pytest.raises(ActionError, match=name):
        actions.change(key=key, **{name: "x"})


def test_rotation_gives_a_new_secret_with_the_same_rights(key):
    old = key.digest
    rotated, secret = actions.rotate(key=key, overlap="1h")

    assert rotated.digest == tokens.digest(tokens.parse(secret), settings.KEY_PEPPERS[0]) != old
    assert (rotated.previous_digest, rotated.state, rotated.scopes) == (old, "rotating", key.scopes)
    assert rotated.previous_ends_at - timezone.now() <= datetime.timedelta(hours=1)
    assert secret[12:34] not in str(list(ApiKey.objects.values())) + str(list(KeyEvent.objects.values()))
    with pytest.raises(ActionError, match="still works"):
        actions.rotate(key=key, overlap="24h")


def test_rotation_without_overlap_ends_the_old_secret_at_once(key):
    actions.rotate(key=key, overlap="1h")
    rotated, _ = actions.rotate(key=key, overlap="now")

    assert (rotated.previous_digest, rotated.previous_ends_at, rotated.state) == (None, None, "active")
    assert kinds(key) == ["issued", "rotated", "rotated"]


def test_there_is_no_other_overlap(key):
    with pytest.raises(ActionError, match="overlap"):
        actions.rotate(key=key, overlap="1y")


@pytest.mark.django_db(transaction=True)
def test_two_revocations_at_once_are_one(alice):
    from concurrent.futures import ThreadPoolExecutor

    from django.db import connection

    key, _ = actions.issue(owner=alice, name="training")

    def revoke(_):
        try:
            return actions.revoke(key=key).revoked_at
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        times = set(pool.map(revoke, range(4)))
    assert len(times) == 1
    assert key.events.filter(kind="revoked").count() == 1
