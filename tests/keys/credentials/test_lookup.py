"""Headers of a known key are remembered: without its secret, a bounded number, and only while the key is valid."""

import pytest

from keys import actions
from keys.credentials import authentication, cache, lookup
from keys.models import User
from keys.refusals import Refusal
from tests.keys.credentials.forms import FORMS, UNKNOWN, basic

pytestmark = pytest.mark.postgresql


@pytest.mark.django_db
def test_headers_of_a_known_key_are_not_parsed_again_and_no_secret_is_kept(monkeypatch):
    key, secret = actions.issue(owner=User.objects.create_user("remembered"), name="training")
    monkeypatch.setattr(cache, "UNHEARD_SECONDS", 60.0)
    headers = [form(secret) for form in FORMS.values()]
    for meta in headers:
        authentication.authenticate(meta)
    kept = repr(lookup.remembered) + repr(cache.key_cache.entries)
    assert secret not in kept
    assert secret[8:] not in kept

    monkeypatch.setattr(authentication, "read_credential", None)
    assert {authentication.authenticate(meta).key for meta in headers} == {key}


@pytest.mark.django_db
def test_remembered_headers_are_bounded_and_only_of_keys_that_exist(monkeypatch):
    _, secret = actions.issue(owner=User.objects.create_user("remembered"), name="training")
    lookup.remembered.clear()
    with pytest.raises(Refusal):
        authentication.authenticate({"HTTP_X_API_KEY": UNKNOWN})
    assert not lookup.remembered
    monkeypatch.setattr(lookup, "MOST_REMEMBERED", 3)
    for number in range(5):
        authentication.authenticate({"HTTP_AUTHORIZATION": f"Basic {basic(f'user{number}', secret)}"})
        assert len(lookup.remembered) <= 3


@pytest.mark.django_db
def test_a_key_that_was_revoked_or_rotated_is_refused_though_its_headers_are_remembered(monkeypatch):
    monkeypatch.setattr(cache, "UNHEARD_SECONDS", 60.0)
    owner = User.objects.create_user("remembered")
    key, secret = actions.issue(owner=owner, name="training")
    meta = {"HTTP_X_API_KEY": secret}
    assert authentication.authenticate(meta).is_previous is False
    actions.rotate(key=key)
    cache.announce(f"key:{key.pk}")
    assert authentication.authenticate(meta).is_previous is True
    actions.revoke(key=key)
    cache.announce(f"key:{key.pk}")
    with pytest.raises(Refusal, match="revoked"):
        authentication.authenticate(meta)
