"""Trusts: who adds them, what they must say, and keys that are exchanged for their tokens."""

import datetime
from types import SimpleNamespace

import pytest
from django.test import Client
from django.utils import timezone

from keys import actions
from keys.actions import organisations
from keys.actions.errors import ActionError, NotAllowed
from keys.alerts import leaks
from keys.credentials import authentication, trusts
from keys.models import ApiKey, ExchangedKey, Organisation, Trust, User
from keys.organisations.exchange import GRANT
from keys.organisations.trusts import change_trust, create_trust
from keys.refusals import Refusal
from keys.rights.scopes import Preset
from tests.issuers import AUDIENCE, Issuer
from tests.keys.people import by

GITHUB = "https://token.actions.githubusercontent.com"
ISSUER = Issuer()


@pytest.fixture
def acme(db) -> Organisation:
    return organisations.create_organisation(slug="acme")


@pytest.fixture
def olga(acme) -> User:
    user = User.objects.create_user("olga")
    organisations.add_member(organisation=acme, user=user, role="owner")
    return user


def fields(**changes) -> dict:
    plain = {"name": "nightly", "issuer": ISSUER.url, "audience": AUDIENCE, "key_set": ISSUER.key_set}
    return {**plain, "conditions": {"repository": ["acme/*"]}, **changes}


@pytest.fixture
def trust(acme, olga) -> Trust:
    return create_trust(organisation=acme, actor=by(olga), **fields())


def caller_of(token: str):
    return authentication.authenticate({"HTTP_AUTHORIZATION": f"Bearer {token}"})


def refused(token: str) -> Refusal:
    with pytest.raises(Refusal) as caught:
        caller_of(token)
    return caught.value


def test_a_trust_is_a_key_without_a_secret(trust):
    key = trust.key
    assert (key.masked, key.owner.username, key.organisation.slug) == (
        "trust, no secret",
        "acme.nightly",
        "acme",
    )
    assert [event.kind for event in key.events.order_by("pk")] == ["issued", "trusted"]
    with pytest.raises(ActionError, match="no secret"):
        actions.rotate(key=key)
    caller = caller_of(ISSUER.token(sub="job 7"))
    assert (caller.key, caller.subject, str(caller)) == (key, "job 7", "The trust “nightly”")


def test_a_trusts_state_rights_and_conditions_hold_for_tokens_that_were_seen_before(trust, olga):
    token = ISSUER.token()
    caller_of(token)
    actions.pause(key=trust.key)
    assert (refused(token).reason, refused(token).message[:20]) == ("paused_key", "The trust “nightly” ")
    actions.resume(key=trust.key)
    actions.change(key=trust.key, scopes=["registry:read"])
    assert caller_of(token).scopes == ["registry:read"]
    change_trust(trust=trust, actor=by(olga), conditions={"ref": ["refs/tags/*"]})
    assert refused(token).reason == "token_conditions"
    change_trust(trust=trust, actor=by(olga), conditions={"sub": ["repo:acme/*"]})
    caller_of(token)
    change_trust(trust=trust, actor=by(olga), key_set=Issuer().key_set)
    assert refused(token).reason == "token_signature"
    actions.revoke(key=trust.key)
    assert refused(token).reason == "unknown_issuer"


def test_a_token_that_was_seen_before_is_not_verified_again(trust, monkeypatch):
    token = ISSUER.token()
    caller_of(token)
    monkeypatch.setattr(trusts, "accept", None)
    assert caller_of(token).key == trust.key
    assert token not in repr(trusts.memory.tokens)


def test_a_token_that_was_seen_before_ends_with_its_claim_exp(trust, monkeypatch):
    token = ISSUER.token()
    caller_of(token)
    later = SimpleNamespace(time=lambda: ISSUER.claims()["exp"] + 70)
    monkeypatch.setattr(trusts, "time", later)
    assert "claim exp " in refused(token).message


def test_a_token_beside_a_key_is_a_gateways_and_ignored(trust, olga):
    key, secret = actions.issue(owner=olga, name="laptop", organisation=trust.key.organisation)
    meta = {"HTTP_AUTHORIZATION": f"Bearer {ISSUER.token()}", "HTTP_X_API_KEY": secret}
    assert authentication.authenticate(meta).key == key


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"conditions": {}}, "whose token it is"),
        ({"conditions": {"sub": ["*"]}}, "whose token it is"),
        ({"conditions": {"jti": ["a"]}}, "whose token it is"),
        ({"conditions": {"iss": ["a"]}}, "name another claim"),
        ({"conditions": {"sub": [""]}}, "printable"),
        ({"issuer": GITHUB, "conditions": {"ref": ["refs/heads/main"]}}, "anybody can get a token"),
        ({"issuer": GITHUB, "conditions": {"repository": ["ac*/models"]}}, "anybody can get a token"),
        ({"issuer": "http://issuer.example", "key_set": None}, "begins with https://"),
        ({"issuer": "https://issuer.example?a=1", "key_set": None}, "begins with https://"),
        ({"audience": "https://portal.example/api/mlflow/w/other"}, "another organisation"),
        ({"audience": " "}, "claim aud"),
        ({"key_set": {"keys": [{"kty": "oct", "k": "AA", "kid": "a"}]}}, "no public key"),
        ({"key_set": {"keys": [*ISSUER.key_set["keys"], {"kty": "oct", "k": "AA"}]}}, "private key"),
        ({"is_private": True}, "only administrators"),
        ({"any_owner": True}, "only administrators"),
        ({"scopes": ["portal:admin"]}, "SELF_SERVICE_PRESET"),
    ],
)
def test_what_an_owner_may_not_write(acme, olga, changes, said):
    with pytest.raises(ActionError, match=said):
        create_trust(organisation=acme, actor=by(olga), **fields(**changes))
    assert not ApiKey.objects.exists()


def test_only_an_owner_adds_a_trust(acme):
    maintainer = User.objects.create_user("max")
    organisations.add_member(organisation=acme, user=maintainer, role="maintainer")
    with pytest.raises(NotAllowed, match="owner"):
        create_trust(organisation=acme, actor=by(maintainer), **fields())


def exchange(**changes):
    form = {"grant_type": GRANT, "subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}
    return Client().post("/api/v1/token/", {**form, **changes})


def test_a_token_is_exchanged_for_a_key_that_acts_and_ends_with_the_trust(trust):
    answer = exchange(subject_token=ISSUER.token(sub="job 8"), expires_in="300")
    content = answer.json()
    assert (answer.status_code, answer["Cache-Control"], content["expires_in"]) == (
        200,
        "private, no-store",
        300,
    )
    caller = caller_of(content["access_token"])
    assert (caller.key, caller.subject, caller.is_previous) == (trust.key, "job 8", False)
    assert set(content["scope"].split()) == set(Preset.CONTRIBUTOR.scopes)
    actions.pause(key=trust.key)
    assert refused(content["access_token"]).reason == "paused_key"


def test_an_exchanged_key_ends_and_its_row_goes(trust, monkeypatch):
    secret = exchange(subject_token=ISSUER.token()).json()["access_token"]
    row = ExchangedKey.objects.get()
    assert timezone.now() < row.expires_at <= timezone.now() + datetime.timedelta(hours=1)
    key = caller_of(secret).key
    key.exchanged.expires_at = timezone.now()
    with pytest.raises(Refusal, match="Exchange a new token"):
        authentication.check_state(key)
    ExchangedKey.objects.update(expires_at=timezone.now() - datetime.timedelta(seconds=1))
    assert refused(secret).reason == "unknown_key"
    exchange(subject_token=ISSUER.token())
    assert ExchangedKey.objects.get().pk != row.pk


def test_an_exchanged_key_that_was_found_ends_and_the_trust_stays(trust, monkeypatch):
    monkeypatch.setattr(leaks, "FLOOR_SECONDS", 0)
    secret = exchange(subject_token=ISSUER.token()).json()["access_token"]
    leaks.report(text=secret)
    assert refused(secret).reason == "unknown_key"
    assert caller_of(ISSUER.token()).key == trust.key


@pytest.mark.parametrize(
    ("changes", "reason", "said"),
    [
        ({"grant_type": "client_credentials"}, "bad_exchange", "grant_type"),
        ({"subject_token_type": "saml2"}, "bad_exchange", "subject_token_type"),
        ({"expires_in": "299"}, "bad_exchange", "300 to 3600"),
        ({"expires_in": "3601"}, "bad_exchange", "300 to 3600"),
        ({"subject_token": "hk_live_x"}, "bad_exchange", "subject_token"),
        ({"repository": "evil/x"}, "token_conditions", "repository"),
    ],
)
def test_what_is_not_exchanged(trust, changes, reason, said):
    claims = {"ref": None, **changes} if "repository" in changes else {}
    sent = {} if claims else changes
    answer = exchange(**{"subject_token": ISSUER.token(**claims), **sent})
    content = answer.json()
    assert (answer.status_code, content["error"], content["reason"]) == (400, "invalid_request", reason)
    assert said in content["error_description"]
    assert not ExchangedKey.objects.exists()
