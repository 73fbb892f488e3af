"""A signed token is parsed strictly, verified with an issuer's key, and refused with a message that names the claim."""

import base64
import json
import os
import random
import time

import jwt
import pytest

from keys.credentials import signed_tokens
from keys.credentials.conditions import Rule, freeze
from keys.credentials.key_sets import KeySets, KeySource
from keys.credentials.trusts import accept
from keys.refusals import Refusal
from tests.issuers import AUDIENCE, Issuer, part

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


def mutate(token: str, chance: random.Random) -> str:
    """A token that differs from this one, in structure, algorithm, size or nesting."""
    head, claims, signature = token.split(".")
    letters = "ABCxyz019-_.=+/ \n\x00é"
    match chance.randrange(10):
        case 0:
            at = chance.randrange(len(token))
            return token[:at] + chance.choice(letters.replace(token[at], "")) + token[at + 1 :]
        case 1:
            at = chance.randrange(len(token))
            return token[:at] + token[at + 1 :]
        case 2:
            at = chance.randrange(len(token))
            return token[:at] + chance.choice(letters) + token[at:]
        case 3:
            algorithm = chance.choice(
                ["none", "None", "HS256", "RS256", "es256", "ES384", "", None, ["ES256"], {}]
            )
            return f"{part({'alg': algorithm, 'kid': 'first', 'typ': 'JWT'})}.{claims}.{signature}"
        case 4:
            size = chance.choice([100, 1000, 7000, 9000, 200_000])
            return f"{head}.{part({'iss': 'x' * size})}.{signature}"
        case 5:
            depth = chance.choice([10, 500, 2500])
            return f"{head}.{part('[' * depth + ']' * depth)}.{signature}"
        case 6:
            return (
                f"{part('{' + chr(34) + 'a' + chr(34) + ':' * chance.randrange(1, 90))}.{claims}.{signature}"
            )
        case 7:
            parts = [head, claims, signature] * 2
            return ".".join(chance.sample(parts, chance.choice([1, 2, 4, 5])))
        case 8:
            changed = json.loads(base64.urlsafe_b64decode(claims + "=="))
            changed[chance.choice([*changed, "extra"])] = chance.choice([None, "", 0, 2**70, [], {}, "*"])
            return f"{head}.{part(changed)}.{signature}"
        case _:
            return token + chance.choice([".", "=", " ", "A", "\n", signature, "." * 5000])


def test_no_mutated_token_is_accepted_or_costs_much(issuer):
    """TOKEN_MUTATIONS=10000 runs the whole of it."""
    chance, rule, token = random.Random(18), rule_for(issuer), issuer.token()
    durations = []
    for _ in range(MUTATIONS):
        mutated = mutate(token, chance)
        if mutated == token:
            continue
        started = time.thread_time()
        is_form = signed_tokens.is_signed_token(mutated)
        said = verdict(mutated, rule) if is_form else ""
        durations.append(time.thread_time() - started)
        assert not said.startswith("repo:"), mutated
    assert sorted(durations)[len(durations) * 99 // 100] < 0.001


def test_only_a_tokens_form_is_one():
    for text in ("hk_live_abc", "", "e", "ey", "eyJh.b", "eyJh.b.c.d", "www.example.com"):
        assert not signed_tokens.is_signed_token(text)
    assert signed_tokens.is_signed_token("eyJh.b.c")


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
