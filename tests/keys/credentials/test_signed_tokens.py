"""A signed token is parsed strictly, verified with an issuer's key, and refused with a message that names the claim."""

import json
import os
import time

import jwt
import pytest

from keys.credentials import signed_tokens
from keys.credentials.conditions import Rule, freeze
from keys.credentials.headers import read_header
from keys.credentials.key_sets import KeySets, KeySource
from keys.credentials.trusts import accept
from keys.refusals import Refusal
from tests.issuers import AUDIENCE, Issuer, part
from tests.keys.credentials.mutations import mutations

CONDITIONS = {"repository": ["acme/*"], "ref": ["refs/heads/main", "refs/tags/v?"]}
MUTATIONS = int(os.environ.get("TOKEN_MUTATIONS", "400"))


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


def rule_for(issuer: Issuer, number: int = 1, *, conditions=CONDITIONS, **changes) -> Rule:
    source = KeySource(issuer=issuer.url, uploaded=json.dumps(issuer.key_set))
    fields = {"id": number, "key_id": number, "organisation_id": 1, "audience": AUDIENCE}
    return Rule(**(fields | changes), conditions=freeze(conditions), source=source)


def verdict(token: str, *rules: Rule, now: float | None = None) -> str:
    """The subject of an accepted token, or why it was refused."""
    try:
        accepted = accept(token, {rules[0].issuer: rules}, KeySets(), now=now or time.time())
    except Refusal as refusal:
        assert refusal.message.endswith(".")
        assert token[:200] not in refusal.message
        return f"{refusal.reason}: {refusal.message}"
    return accepted.subject


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_token_with_the_right_claims_is_accepted(algorithm):
    issuer = Issuer(algorithm=algorithm)
    assert verdict(issuer.token(), rule_for(issuer)) == "repo:acme/models:ref:refs/heads/main"
    assert verdict(issuer.token(aud=["other", AUDIENCE]), rule_for(issuer)).startswith("repo:")


@pytest.mark.parametrize(
    ("changes", "reason", "named"),
    [
        ({"iss": "https://other.example"}, "unknown_issuer", "(iss)"),
        ({"iss": None}, "unknown_issuer", "(iss)"),
        ({"iss": ["https://issuer.example"]}, "unknown_issuer", "(iss)"),
        ({"aud": "https://other.example"}, "token_claim", "claim aud "),
        ({"aud": None}, "token_claim", "claim aud "),
        ({"aud": []}, "token_claim", "claim aud "),
        ({"aud": AUDIENCE + "/"}, "token_claim", "claim aud "),
        ({"exp": None}, "token_claim", "claim exp "),
        ({"exp": -90}, "token_claim", "claim exp "),
        ({"exp": True}, "token_claim", "claim exp "),
        ({"exp": "2000000000"}, "token_claim", "claim exp "),
        ({"exp": 1e300}, "token_claim", "claim exp "),
        ({"nbf": 90}, "token_claim", "claim nbf "),
        ({"iat": 90}, "token_claim", "claim iat "),
        ({"iat": None}, "token_claim", "claim iat "),
        ({"sub": None}, "token_claim", "claim sub "),
        ({"sub": "a\nb"}, "token_claim", "claim sub "),
        ({"sub": "a" * 501}, "token_claim", "claim sub "),
        ({"repository": "evil/models"}, "token_conditions", "claim repository "),
        ({"repository": None, "ref": None}, "token_conditions", "claim ref, repository "),
        ({"ref": "refs/heads/main\n"}, "token_conditions", "claim ref "),
        ({"ref": "refs/tags/v10"}, "token_conditions", "claim ref "),
        ({"ref": {"refs/heads/main": 1}}, "token_conditions", "claim ref "),
    ],
)
def test_each_wrong_claim_is_named(issuer, changes, reason, named):
    """A time is in seconds from now."""
    for name, value in changes.items():
        if value in (-90, 90):
            changes = {**changes, name: int(time.time()) + value}
    said = verdict(issuer.token(**changes), rule_for(issuer))
    assert said.startswith(f"{reason}: ")
    assert named in said


def test_the_clocks_may_differ_by_a_minute(issuer):
    rule, now = rule_for(issuer), int(time.time())
    for seconds in (-50, 50):
        token = issuer.token(iat=now + seconds, nbf=now + seconds, exp=now + min(seconds, 0) + 1)
        assert verdict(token, rule).startswith("repo:")


def test_every_kind_of_wrong_signature_is_refused(issuer):
    rule, token = rule_for(issuer), issuer.token()
    head, claims, signature = token.split(".")
    other = Issuer()
    stranger = f"{head}.{claims}.{other.token().split('.')[2]}"
    symmetric = f"{part({'alg': 'HS256', 'kid': 'first'})}.{claims}"
    rsa = Issuer(algorithm="RS256")
    said = [
        verdict(stranger, rule),
        verdict(other.token(), rule),
        verdict(f"{part({'alg': 'none', 'kid': 'first'})}.{claims}.{signature}", rule),
        verdict(
            jwt.encode(
                issuer.claims(), b"public-key-as-a-secret-public-key", "HS256", headers={"kid": "first"}
            ),
            rule,
        ),
        verdict(f"{symmetric}.{signature}", rule),
        verdict(rsa.token(), rule),
        verdict(issuer.token(headers={"kid": "other"}), rule),
        verdict(issuer.token(headers={"kid": None}), rule),
        verdict(issuer.token(headers={"crit": ["x"], "x": 1}), rule),
        verdict(other.token(headers={"jwk": other.key_set["keys"][0], "jku": other.url}), rule),
    ]
    reasons = [each.partition(":")[0] for each in said]
    assert reasons == [
        *("token_signature", "token_signature", "token_algorithm", "token_algorithm", "token_algorithm"),
        *("token_signature", "token_key", "token_key", "malformed_token", "token_signature"),
    ]


def test_trusts_of_two_organisations_that_accept_a_token_are_told_apart_by_its_audience(issuer):
    ours, theirs = rule_for(issuer), rule_for(issuer, 2, organisation_id=2)
    assert verdict(issuer.token(), ours, theirs).startswith("ambiguous_token: ")
    assert verdict(issuer.token(), ours, rule_for(issuer, 2)).startswith("repo:")
    other = rule_for(issuer, 2, organisation_id=2, audience=f"{AUDIENCE}/w/acme")
    assert verdict(issuer.token(), ours, other).startswith("repo:")


def test_no_mutated_token_is_accepted_or_costs_much(issuer):
    """TOKEN_MUTATIONS=10000 runs the whole of it; `make identity` also sends them to a portal."""
    rule, token = rule_for(issuer), issuer.token()
    durations = []
    for mutated in mutations(token, MUTATIONS):
        said, duration = judge(mutated, rule)
        assert not said.startswith("repo:"), mutated
        durations.append(duration)
    assert max(durations) < 0.001


def judge(token: str, rule: Rule) -> tuple[str, float]:
    """The verdict, and the CPU seconds that it took, with reading it from its header. The least of three attempts if
    the first took long, because the interpreter may have had other work."""
    durations = []
    while len(durations) < 3 and min(durations, default=1) > 0.0005:
        started = time.thread_time()
        credential = next(read_header("HTTP_AUTHORIZATION", {"HTTP_AUTHORIZATION": f"Bearer {token}"}))
        said = verdict(credential.text, rule) if signed_tokens.is_signed_token(credential.text) else ""
        durations.append(time.thread_time() - started)
    return said, min(durations)


def test_only_a_tokens_form_is_one():
    for text in ("hk_live_abc", "", "e", "ey", "eyJh.b", "eyJh.b.c.d", "www.example.com"):
        assert not signed_tokens.is_signed_token(text)
    assert signed_tokens.is_signed_token("eyJh.b.c")


def test_a_text_that_is_longer_than_any_token_is_refused_as_one_if_it_begins_as_one(issuer):
    head, claims, signature = issuer.token().split(".")
    for text in (f"{head}.{claims}{'A' * 9000}.{signature}", f"{head}.{'A' * 9000}", f"{head}.{'.' * 9000}"):
        assert signed_tokens.is_signed_token(text)
        assert verdict(text, rule_for(issuer)).startswith("malformed_token: ")
    for text in ("A" * 9000, "ey" + "A" * 9000, "hk_live_" + "." * 9000):
        assert not signed_tokens.is_signed_token(text)


def test_a_key_set_without_a_usable_key_is_none(issuer):
    good = issuer.key_set["keys"][0]
    assert list(signed_tokens.parse_key_set({"keys": [{"kty": "oct", "k": "AA", "kid": "a"}, good]})) == [
        "first"
    ]
    weak = {**good, "crv": "P-384"}
    for content in (
        {},
        [],
        {"keys": []},
        {"keys": [weak]},
        {"keys": [{**good, "use": "enc"}]},
        {"keys": "no"},
    ):
        with pytest.raises(ValueError):
            signed_tokens.parse_key_set(content)
