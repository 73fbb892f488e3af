"""From a request to its key, or to a refusal that says why not."""

import datetime

import pytest
from django.conf import settings as django_settings
from django.db import OperationalError
from django.utils import timezone

from keys import actions
from keys.credentials import authentication, cache, lookup, tokens
from keys.models import ApiKey, User
from keys.refusals import Refusal
from tests.keys.credentials.forms import FORMS, GET_EXPERIMENT, UNKNOWN, basic
from tests.portals import wait_for

pytestmark = pytest.mark.postgresql

# Reason, status, what the message has to say; KEY is a good key.
REFUSED = {
    "nothing": ({}, "no_key", 401, "MLFLOW_TRACKING_TOKEN"),
    "an empty header": ({"HTTP_AUTHORIZATION": " "}, "no_key", 401, "MLFLOW_TRACKING_TOKEN"),
    "an empty bearer": ({"HTTP_AUTHORIZATION": "Bearer "}, "no_key", 401, "contains no key"),
    "an empty password": ({"HTTP_AUTHORIZATION": f"Basic {basic('KEY', '')}"}, "no_key", 401, "password"),
    "bad base64": ({"HTTP_AUTHORIZATION": "Basic ***"}, "bad_basic", 401, "base64"),
    "base64 of no text": ({"HTTP_AUTHORIZATION": "Basic //79"}, "bad_basic", 401, "base64"),
    "another scheme": (
        {"HTTP_AUTHORIZATION": "Digest KEY"},
        "unknown_scheme",
        401,
        "Bearer, ApiKey or Basic",
    ),
    "no scheme": ({"HTTP_AUTHORIZATION": "KEY"}, "unknown_scheme", 401, "Bearer, ApiKey or Basic"),
    "no scheme, in words": ({"HTTP_AUTHORIZATION": "KEY"}, "unknown_scheme", 401, "without a scheme"),
    "an encoded blank": ({"HTTP_AUTHORIZATION": "Bearer%20KEY"}, "unknown_scheme", 401, "URL-encoded"),
    "a colon": ({"HTTP_AUTHORIZATION": "Bearer: KEY"}, "unknown_scheme", 401, "no colon"),
    "quotes around it all": ({"HTTP_AUTHORIZATION": '"Bearer KEY"'}, "unknown_scheme", 401, "no quotes"),
    "quotes": ({"HTTP_AUTHORIZATION": 'Bearer "KEY"'}, "malformed_key", 401, "in quotes"),
    "quotes in Basic": ({"HTTP_AUTHORIZATION": 'BASIC:"KEY"'}, "malformed_key", 401, "in quotes"),
    "brackets": ({"HTTP_AUTHORIZATION": "Bearer <KEY>"}, "malformed_key", 401, "in brackets"),
    "a line break": ({"HTTP_AUTHORIZATION": "BASIC:KEY\n"}, "malformed_key", 401, "line break"),
    "a scheme twice": (
        {"HTTP_AUTHORIZATION": "Bearer Bearer KEY"},
        "malformed_key",
        401,
        "takes the key alone",
    ),
    "a scheme in X-API-Key": ({"HTTP_X_API_KEY": "Bearer KEY"}, "malformed_key", 401, "X-API-Key takes"),
    "a key as the user": ({"HTTP_AUTHORIZATION": "USER:KEY"}, "no_key", 401, "as its user name"),
    "a bad form beside a key": (
        {"HTTP_AUTHORIZATION": 'Bearer "KEY"', "HTTP_X_API_KEY": "KEY"},
        "malformed_key",
        401,
        "in quotes",
    ),
    "no key of ours": ({"HTTP_AUTHORIZATION": "Bearer dapi123"}, "malformed_key", 401, "hk_live_"),
    "a netrc password": ({"HTTP_AUTHORIZATION": f"Basic {basic('u', 'pw')}"}, "malformed_key", 401, "netrc"),
    "half a key": ({"HTTP_AUTHORIZATION": "Bearer HALF"}, "malformed_key", 401, "32 letters and digits"),
    "a typo": ({"HTTP_AUTHORIZATION": "Bearer TYPO"}, "malformed_key", 401, "mistyped"),
    "an unknown key": ({"HTTP_AUTHORIZATION": f"Bearer {UNKNOWN}"}, "unknown_key", 401, "not known here"),
    "two keys": (
        {"HTTP_AUTHORIZATION": "Bearer KEY", "HTTP_X_API_KEY": UNKNOWN},
        "two_credentials",
        400,
        "only one of them",
    ),
    "two authorizations": (
        {"HTTP_AUTHORIZATION": "Bearer KEY,Bearer KEY"},
        "two_credentials",
        400,
        "only one",
    ),
    "two of basic": ({"HTTP_AUTHORIZATION": "Basic eDp5,Basic eDp6"}, "two_credentials", 400, "only one"),
    "two api keys": ({"HTTP_X_API_KEY": f"KEY,{UNKNOWN}"}, "two_credentials", 400, "only one"),
    "a key in the query": ({"QUERY_STRING": "a=1&api_key=KEY"}, "key_in_query", 401, "in the URL"),
    "a key in the query beside a good one": (
        {"QUERY_STRING": "token=KEY", "HTTP_AUTHORIZATION": "Bearer KEY"},
        "key_in_query",
        401,
        "new one issued",
    ),
    "an encoded key in the query": ({"QUERY_STRING": "x=ENCODED"}, "key_in_query", 401, "in the URL"),
    "a query that is named like one": ({"QUERY_STRING": "API%5FKEY=x"}, "key_in_query", 401, "in the URL"),
}


@pytest.fixture
def alice(db) -> User:
    return User.objects.create_user("alice")


@pytest.fixture
def issued(alice) -> tuple[ApiKey, str]:
    return actions.issue(owner=alice, name="training")


def bearer(secret: str) -> dict[str, str]:
    return {"HTTP_AUTHORIZATION": f"Bearer {secret}"}


def refusal(meta: dict[str, str]) -> Refusal:
    cache.key_cache.entries.clear()
    with pytest.raises(Refusal) as caught:
        authentication.authenticate(meta)
    return caught.value


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_each_form_is_the_same_key(form, issued):
    key, secret = issued
    caller = authentication.authenticate(form(secret))

    assert caller.key == key
    assert (caller.is_previous, caller.in_grace) == (False, False)


@pytest.mark.parametrize(("meta", "reason", "status", "words"), REFUSED.values(), ids=REFUSED)
def test_each_refusal_says_what_to_do_and_never_repeats_the_secret(meta, reason, status, words, issued):
    secret = issued[1]
    typo = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    spelt = {"KEY": secret, "TYPO": typo, "HALF": secret[:30], "ENCODED": secret.replace("_", "%5F")}
    for word, value in spelt.items():
        meta = {name: text.replace(word, value) for name, text in meta.items()}
    for start, encode in (("BASIC:", lambda text: basic("u", text)), ("USER:", lambda text: basic(text, ""))):
        meta = {
            name: f"Basic {encode(text.removeprefix(start))}" if text.startswith(start) else text
            for name, text in meta.items()
        }

    refused = refusal(meta)

    assert (refused.reason, refused.status) == (reason, status)
    assert refused.error_code == {400: "INVALID_PARAMETER_VALUE", 401: "UNAUTHENTICATED"}[status]
    assert words in refused.message
    assert ("WWW-Authenticate" in refused.headers) == (status == 401)
    for text in (refused.message, str(refused), repr(refused)):
        assert secret[12:34] not in text
        assert UNKNOWN[12:34] not in text


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("revoked", "revoked_key"),
        ("paused", "paused_key"),
        ("expired", "expired_key"),
        ("inactive", "inactive_user"),
    ],
)
def test_the_holder_of_a_secret_is_told_what_became_of_the_key(state, reason, issued):
    key, secret = issued
    end(key, state)
    refused = refusal(bearer(secret))

    assert (refused.status, refused.error_code, refused.reason) == (401, "UNAUTHENTICATED", reason)
    assert "administrator" in refused.message
    assert "training" in refused.message or "alice" in refused.message


def end(key: ApiKey, state: str) -> None:
    match state:
        case "revoked":
            actions.revoke(key=key)
        case "paused":
            actions.pause(key=key)
        case "expired":
            ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - datetime.timedelta(days=1))
        case "inactive":
            User.objects.filter(pk=key.owner_id).update(is_active=False)


@pytest.mark.parametrize("state", ["revoked", "expired", "unknown"])
def test_an_older_key_in_netrc_is_told_where_it_may_come_from(state, issued):
    key, secret = issued
    end(key, state)
    sent = UNKNOWN if state == "unknown" else secret

    assert "netrc" in refusal({"HTTP_AUTHORIZATION": f"Basic {basic('u', sent)}"}).message
    assert "netrc" not in refusal(bearer(sent)).message


def test_somebody_elses_guess_learns_nothing_of_a_keys_state(issued):
    actions.revoke(key=issued[0])

    assert refusal(bearer(UNKNOWN)).reason == "unknown_key"


def test_a_key_works_until_the_moment_it_expires(issued, settings):
    key, secret = issued
    settings.EXPIRY_GRACE = 0
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() + datetime.timedelta(hours=1))
    assert authentication.authenticate(bearer(secret)).key == key
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now())

    assert refusal(bearer(secret)).reason == "expired_key"


def test_an_expired_key_has_a_grace_and_is_marked(issued, settings):
    key, secret = issued
    settings.EXPIRY_GRACE = 3600
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - datetime.timedelta(minutes=59))
    assert authentication.authenticate(bearer(secret)).in_grace
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - datetime.timedelta(minutes=61))

    assert refusal(bearer(secret)).reason == "expired_key"


def test_both_secrets_work_while_a_rotation_overlaps(issued):
    key, old = issued
    _, new = actions.rotate(key=key, overlap="1h")

    assert authentication.authenticate(bearer(old)).is_previous
    assert not authentication.authenticate(bearer(new)).is_previous
    ApiKey.objects.update(previous_ends_at=timezone.now())
    assert refusal(bearer(old)).reason == "rotated_key"
    cache.key_cache.entries.clear()
    assert authentication.authenticate(bearer(new)).key == key


def test_keys_made_under_an_older_pepper_still_work(issued, settings):
    key, secret = issued
    digest = key.digest
    settings.KEY_PEPPERS = ["n" * 40, *django_settings.KEY_PEPPERS]
    assert authentication.authenticate(bearer(secret)).key == key
    ApiKey.objects.update(digest=digest)  # as if it had not been used
    cache.key_cache.entries.clear()
    settings.KEY_PEPPERS = ["n" * 40]

    assert refusal(bearer(secret)).reason == "unknown_key"


def test_a_key_moves_to_the_newest_pepper_when_it_is_used_and_not_back_and_forth(issued, settings):
    key, old = issued
    _, new = actions.rotate(key=key, overlap="1h")
    peppers = ["n" * 40, *django_settings.KEY_PEPPERS]
    settings.KEY_PEPPERS = peppers
    for secret in (old, new):
        lookup._moved.clear()
        authentication.authenticate(bearer(secret))
    settings.KEY_PEPPERS = peppers[:1]
    cache.key_cache.entries.clear()
    assert [authentication.authenticate(bearer(each)).is_previous for each in (old, new)] == [True, False]

    settings.KEY_PEPPERS = peppers[::-1]  # a portal that has not restarted yet, within the same minute
    cache.key_cache.entries.clear()
    authentication.authenticate(bearer(new))
    assert ApiKey.objects.get(pk=key.pk).digest == tokens.digest(tokens.parse(new), "n" * 40)


def test_an_outage_of_the_database_does_not_look_like_a_bad_key(issued, monkeypatch):
    """15: its outage was everyone's outage, and looked like a bad key."""

    def away(*args):
        raise OperationalError("connection refused")

    monkeypatch.setattr(ApiKey.objects, "with_owner", away)
    refused = refusal(bearer(issued[1]))

    assert (refused.status, refused.error_code) == (429, "TEMPORARILY_UNAVAILABLE")
    assert 0 < int(refused.headers["Retry-After"]) <= 30
    assert "WWW-Authenticate" not in refused.headers


def test_what_is_no_key_costs_no_query(issued, django_assert_num_queries):
    with django_assert_num_queries(0):
        for meta in ({}, bearer("nonsense"), bearer(issued[1][:-1] + "!"), {"QUERY_STRING": "api_key=x"}):
            refusal(meta)


def test_a_known_key_costs_no_query_while_postgresql_is_heard(issued, monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(cache, "UNHEARD_SECONDS", 1.0)
    with django_assert_num_queries(1):  # the key with its owner
        authentication.authenticate(bearer(issued[1]))
    cache.pulse.beat()
    with django_assert_num_queries(0):
        authentication.authenticate(bearer(issued[1]))


class TestOnTheWire:
    @pytest.mark.parametrize("accept", ["application/json", "*/*", "text/html"])
    def test_a_refusal_is_json_with_a_challenge(self, accept, echo, echo_portal):
        headers = [("Accept", accept), ("Authorization", "Bearer nonsense")]
        reply = echo_portal.request("GET", GET_EXPERIMENT, headers=headers)

        assert reply.status == 401
        assert reply.headers["Content-Type"] == "application/json"
        assert reply.headers["WWW-Authenticate"].startswith("Bearer ")
        assert reply.headers["Cache-Control"] == "private, no-store"
        assert set(reply.json()) == {"error_code", "message", "request_id"}
        assert reply.json()["request_id"] == reply.headers["X-Request-ID"]
        assert not echo.arriving

    def test_two_credentials_are_one_too_many(self, echo, echo_portal, echo_key):
        for headers in (
            [("X-API-Key", UNKNOWN)],
            [("X-API-Key", echo_key["key"]), ("X-API-Key", UNKNOWN)],
            [("Authorization", f"Bearer {UNKNOWN}")],
            [("Authorization", f"Basic {basic('x', UNKNOWN)}")],
        ):
            reply = echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"], headers=headers)
            assert (reply.status, reply.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), headers
        assert not echo.arriving

    @pytest.mark.parametrize("state", ["revoked", "paused"])
    def test_the_end_of_a_key_holds_within_a_second_everywhere(self, state, echo, echo_portal):
        """16: keys cached with their raw value, for 60 s after revocation."""
        key = echo_portal.issue("erin")
        assert echo_portal.request("GET", GET_EXPERIMENT, key=key["key"]).status == 200
        column = {"revoked": "revoked_at", "paused": "paused_at"}[state]
        echo_portal.sql(f"update keys_apikey set {column} = now() where public_id = %s", key["id"])

        statuses = wait_for(
            lambda: echo_portal.request("GET", GET_EXPERIMENT, key=key["key"]).status,
            lambda status: status == 401,
            seconds=1,
        )
        assert statuses == 401

    def test_a_call_counts_one_upstream_call_and_no_other(self, echo, echo_portal, echo_key):
        echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"])

        assert len(echo.arriving) == 1
