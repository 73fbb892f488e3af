"""What the database itself refuses, each rule by its name."""

import datetime
import hashlib

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from keys import actions
from keys.models import ApiKey, User

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice")


@pytest.fixture
def key(alice) -> ApiKey:
    return actions.issue(owner=alice, name="training")[0]


def refused(key: ApiKey, **values) -> str:
    """The error with which PostgreSQL refuses these values in the key's row."""
    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        ApiKey.objects.filter(pk=key.pk).update(**values)
    return str(caught.value)


SOON = timezone.now() + datetime.timedelta(hours=1)
OTHER_DIGEST = hashlib.sha256(b"other").hexdigest()


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("key_digest_is_hmac_sha256", {"digest": "hk_live_secret"}),
        ("key_digest_is_hmac_sha256", {"digest": "A" * 64}),
        ("key_digest_is_hmac_sha256", {"digest": "a" * 63}),
        ("key_prefix_names_environment", {"prefix": "hk_test_abcd"}),
        ("key_prefix_names_environment", {"environment": "test"}),
        ("key_prefix_names_environment", {"environment": "prod"}),
        ("key_name_not_empty", {"name": ""}),
        ("key_scopes_known", {"scopes": ["tracking:read", "all"]}),
        ("key_requests_per_minute_positive", {"requests_per_minute": 0}),
        ("key_monthly_requests_positive", {"monthly_requests": -1}),
        ("key_monthly_bytes_positive", {"monthly_bytes": 0}),
        ("key_previous_secret_has_end", {"previous_digest": OTHER_DIGEST}),
        ("key_previous_secret_has_end", {"previous_ends_at": SOON}),
    ],
)
def test_a_row_that_is_no_key_is_refused(key, constraint, values):
    assert constraint in refused(key, **values)


def test_a_rotated_key_has_two_secrets(key):
    assert "key_secrets_differ" in refused(key, previous_digest=key.digest, previous_ends_at=SOON)


@pytest.mark.parametrize("field", ["digest", "public_id"])
def test_no_two_keys_share_secret_or_id(key, alice, field):
    other, _ = actions.issue(owner=alice, name="other")

    assert field in refused(other, **{field: getattr(key, field)})


def test_no_two_users_share_an_id(alice):
    with pytest.raises(IntegrityError, match="public_id"), transaction.atomic():
        User.objects.create_user("bob").__class__.objects.filter(username="bob").update(
            public_id=alice.public_id
        )


def test_what_has_a_history_is_not_deleted(key, alice):
    with pytest.raises(ProtectedError):
        key.delete()
    with pytest.raises(ProtectedError):
        alice.delete()


@pytest.mark.parametrize(
    "statement",
    [
        "update keys_keyevent set kind = 'revoked'",
        "delete from keys_keyevent",
        "truncate keys_keyevent",
        "set local pgtrigger.ignore = '{keys_keyevent:append_only}'; delete from keys_keyevent",
    ],
)
def test_history_is_written_once(statement, key):
    with connection.cursor() as cursor:
        cursor.execute("set constraints all immediate")  # nothing that waits for checks is truncated
        with pytest.raises(IntegrityError, match="append-only") as refused, transaction.atomic():
            cursor.execute(statement)

    assert refused.value.__cause__.diag.constraint_name == "keyevent_append_only"
    assert [event.kind for event in key.events.all()] == ["issued"]


def test_ids_are_random_and_say_what_they_are_of(key, alice):
    assert alice.public_id.startswith("usr_")
    assert key.public_id.startswith("key_")
    assert len(alice.public_id) == len(key.public_id) == 20


HOUR = datetime.timedelta(hours=1)


@pytest.mark.parametrize(
    ("state", "times"),
    [
        ("active", {}),
        ("active", {"expires_at": HOUR}),
        ("rotating", {"previous_ends_at": HOUR}),
        ("active", {"previous_ends_at": -HOUR}),
        ("paused", {"paused_at": -HOUR, "previous_ends_at": HOUR}),
        ("expired", {"expires_at": -HOUR, "paused_at": -HOUR}),
        ("revoked", {"revoked_at": -HOUR, "expires_at": -HOUR, "paused_at": -HOUR}),
    ],
)
def test_a_key_is_in_one_state(key, state, times):
    now = timezone.now()
    for name, delta in times.items():
        setattr(key, name, now + delta)
    if key.previous_ends_at:
        key.previous_digest = OTHER_DIGEST
    key.save()

    assert key.state == state
    assert (key in ApiKey.objects.active()) == (state in ("active", "rotating"))


def test_the_keys_of_a_deactivated_user_are_not_active(key, alice):
    alice.is_active = False
    alice.save()

    assert not ApiKey.objects.active().exists()


def test_a_key_is_shown_masked(key):
    assert str(key) == f"training ({key.prefix}…{key.last4})"
    assert len(key.prefix) == 12
