"""Writes that are sent again are done once."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from keys.models import ApiKey, IdempotentRequest, KeyEvent
from tests.keys.api.callers import refused
from tests.keys.people import everything_stored, key_of

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]
NEW = {"user": "dora", "name": "training"}


def test_the_second_answer_is_the_first_without_its_secret(alice):
    first = alice.post("/keys", NEW, Idempotency_Key="one")
    second = alice.post("/keys", NEW, Idempotency_Key="one")

    assert (first.status_code, second.status_code) == (201, 201)
    assert second["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first
    assert first.json()["key"] not in everything_stored()
    assert second.json()["key"] is None
    assert "showed the secret once" in second.json()["notice"]
    assert "once" in second.json()["notice"]
    same = {name: value for name, value in first.json().items() if name not in ("key", "notice")}
    assert same.items() <= second.json().items()
    assert ApiKey.objects.filter(name="training").count() == 1


def test_a_key_is_rotated_once(cast, alice):
    address = f"/keys/{key_of(cast['dora']).public_id}/rotate"
    first, second = (alice.post(address, {"overlap": "now"}, Idempotency_Key="one") for _ in range(2))

    assert first.json()["key"]
    assert second.json()["key"] is None
    assert first.json()["masked"] == second.json()["masked"]
    assert KeyEvent.objects.filter(kind="rotated").count() == 1


def test_another_request_under_the_same_name_is_refused(cast, alice):
    alice.post("/keys", NEW, Idempotency_Key="one")

    refused(
        alice.post("/keys", {**NEW, "name": "other"}, Idempotency_Key="one"), 422, "idempotency_key_reused"
    )
    other = f"/keys/{key_of(cast['dora']).public_id}/pause"
    refused(alice.post(other, Idempotency_Key="one"), 422, "idempotency_key_reused")
    assert not ApiKey.objects.filter(name="other").exists()


def test_the_order_of_fields_and_a_slash_make_no_other_request(alice):
    alice.post("/keys", NEW, Idempotency_Key="one")
    again = alice.post("/keys/", dict(reversed(NEW.items())), Idempotency_Key="one")

    assert again["Idempotent-Replayed"] == "true"


def later(monkeypatch, **passed: int) -> None:
    now = timezone.now() + timedelta(**passed)
    monkeypatch.setattr(timezone, "now", lambda: now)


def replayed(first, second) -> None:
    assert first.status_code in (200, 201), first.content
    assert (second.status_code, second["Idempotent-Replayed"]) == (first.status_code, "true")
    for header in ("ETag", "Cache-Control"):
        assert second.get(header) == first.get(header)


def test_an_expiry_that_has_passed_since_is_no_other_request(alice, monkeypatch):
    body = {**NEW, "expires_at": (timezone.now() + timedelta(minutes=5)).isoformat()}
    first = alice.post("/keys", body, Idempotency_Key="one")
    later(monkeypatch, minutes=6)
    second = alice.post("/keys", body, Idempotency_Key="one")

    replayed(first, second)
    assert second["ETag"]
    assert second["Cache-Control"] == "private, no-store"
    refused(
        alice.post("/keys", {**body, "name": "other"}, Idempotency_Key="one"), 422, "idempotency_key_reused"
    )
    refused(alice.post("/keys", body, Idempotency_Key="two"), 400, "bad_value")


def test_an_expiry_that_was_changed_and_has_passed_is_no_other_request(cast, alice, monkeypatch):
    address = f"/keys/{key_of(cast['dora']).public_id}"
    body = {"expires_at": (timezone.now() + timedelta(minutes=5)).isoformat()}
    first = alice.patch(address, body, Idempotency_Key="one")
    later(monkeypatch, minutes=6)

    replayed(first, alice.patch(address, body, Idempotency_Key="one"))


def test_an_owner_who_was_deactivated_since_makes_no_other_request(cast, alice):
    first = alice.post("/keys", NEW, Idempotency_Key="one")
    handed = alice.post(f"/users/{cast['bob'].public_id}/hand-over", {"to": "dora"}, Idempotency_Key="two")
    alice.post(f"/users/{cast['dora'].public_id}/deactivate")

    replayed(first, alice.post("/keys", NEW, Idempotency_Key="one"))
    again = alice.post(f"/users/{cast['bob'].public_id}/hand-over", {"to": "dora"}, Idempotency_Key="two")
    replayed(handed, again)


def test_a_holders_key_is_told_after_self_service_has_ended_too(dora, settings):
    settings.SELF_SERVICE = True
    body = {"user": "dora", "name": "mine", "preset": "reader", "expires_in": "1d"}
    first = dora.post("/keys", body, Idempotency_Key="one")
    settings.SELF_SERVICE = False

    replayed(first, dora.post("/keys", body, Idempotency_Key="one"))
    refused(dora.post("/keys", body, Idempotency_Key="two"), 403, "permission")


def test_names_are_each_callers_own(alice, bob):
    assert alice.post("/keys", NEW, Idempotency_Key="one").json()["key"]
    assert bob.post("/keys", NEW, Idempotency_Key="one").json()["key"]


def test_a_refusal_is_not_remembered(alice):
    refused(alice.post("/keys", {**NEW, "user": "nobody"}, Idempotency_Key="one"), 400, "bad_value")

    assert alice.post("/keys", NEW, Idempotency_Key="one").json()["key"]
    assert IdempotentRequest.objects.count() == 1


def test_what_failed_in_the_middle_is_not_remembered(cast, alice):
    key = key_of(cast["dora"])
    alice.post(f"/keys/{key.public_id}/revoke")

    refused(alice.post(f"/keys/{key.public_id}/rotate", Idempotency_Key="one"), 409, "not_possible")
    assert not IdempotentRequest.objects.exists()


def test_names_are_forgotten_after_a_day(alice):
    alice.post("/keys", NEW, Idempotency_Key="one")
    IdempotentRequest.objects.update(at=timezone.now() - timedelta(hours=24, seconds=1))

    assert alice.post("/keys", NEW, Idempotency_Key="one").json()["key"]
    assert ApiKey.objects.filter(name="training").count() == 2


@pytest.mark.parametrize("name", ["", "x" * 256, "with blank"])
def test_a_name_is_of_a_bounded_length_and_visible(alice, name):
    refused(alice.post("/keys", NEW, Idempotency_Key=name), 400, "bad_value")


class TestConstraints:
    FIELDS = {"caller": "key:1", "name": "one", "fingerprint": "0" * 64}

    @pytest.mark.parametrize(
        ("constraint", "change"),
        [
            ("one_idempotent_request", {}),
            ("idempotent_fingerprint_is_sha256", {"name": "x", "fingerprint": "x"}),
        ],
    )
    def test_are_postgresqls(self, db, constraint, change):
        IdempotentRequest.objects.create(**self.FIELDS)

        with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
            IdempotentRequest.objects.create(**{**self.FIELDS, **change})
