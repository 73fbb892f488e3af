"""The simulator of trusts: would a token pass, and if not, why not. Nothing of the token is stored or logged."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from keys.actions.errors import ActionError
from keys.credentials import signed_tokens
from keys.credentials.conditions import Rule, claim_texts, has_audience, matches_globs
from keys.credentials.key_sets import key_sets
from keys.credentials.signed_tokens import SignedToken
from keys.credentials.trusts import rule_of
from keys.formatting import strict_json
from keys.models import Organisation, Trust
from keys.refusals import Refusal

LONGEST_VALUE = 200  # characters of a claim that are shown


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that must be right. `passes` is None for what claims alone do not show."""

    name: str
    passes: bool | None
    text: str


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How a token fares with one trust."""

    trust: Trust
    checks: list[Check]

    @property
    def passes(self) -> bool:
        return all(check.passes is not False for check in self.checks)


def try_token(organisation: Organisation, text: str) -> list[Trial]:
    """How a token, or a JSON object of claims, fares with each trust of the organisation that is not revoked. Raises
    ActionError for text that is neither."""
    text, token = text.strip(), None
    if signed_tokens.is_signed_token(text):
        try:
            token = signed_tokens.parse(text)
        except Refusal as refusal:
            raise ActionError(refusal.message) from None
        claims = token.claims
    else:
        claims = read_claims(text)
    rows = Trust.objects.filter(key__organisation=organisation, key__revoked_at=None)
    trusts = rows.select_related("key__owner", "key__organisation").order_by("pk")
    return [Trial(trust=each, checks=list(check(each, token, claims))) for each in trusts]


def read_claims(text: str) -> dict[str, Any]:
    try:
        claims = strict_json.loads(text[: signed_tokens.LONGEST])
    except (ValueError, RecursionError):
        claims = None
    if not isinstance(claims, dict):
        raise ActionError(
            "paste a signed token (three parts with dots between them), or its claims as a JSON object"
        )
    return claims


def check(trust: Trust, token: SignedToken | None, claims: Any) -> Iterator[Check]:
    rule = rule_of(trust, trust.key.organisation.pk)
    state = trust.key.state
    yield Check(name="state", passes=state == "active", text=f"The trust is {state}.")
    is_issuer = claims.get("iss") == rule.issuer
    yield Check(name="iss", passes=is_issuer, text=compare(claims, "iss", [rule.issuer]))
    yield (
        check_signature(rule, token)
        if is_issuer or token is None
        else Check(name="signature", passes=None, text="Not checked: the token is another issuer's.")
    )
    yield Check(
        name="aud", passes=has_audience(claims, rule.audience), text=compare(claims, "aud", [rule.audience])
    )
    yield check_by(
        "exp, nbf, iat", lambda: signed_tokens.check_times(claims, time.time()), "The times are right."
    )
    yield check_by("sub", lambda: signed_tokens.read_subject(claims), "The log will name it.")
    for name, globs in rule.conditions:
        passes = matches_globs(claims.get(name), globs)
        yield Check(name=name, passes=passes, text=compare(claims, name, globs))


def check_signature(rule: Rule, token: SignedToken | None) -> Check:
    if token is None:
        return Check(name="signature", passes=None, text="Not checked: claims alone have none.")

    def verify() -> None:
        key, _ = key_sets.find(rule.source, token.key_id)
        signed_tokens.verify(token, key)

    return check_by("signature", verify, "The issuer signed the token.")


def check_by(name: str, act: Any, good: str) -> Check:
    try:
        act()
    except Refusal as refusal:
        return Check(name=name, passes=False, text=refusal.message)
    return Check(name=name, passes=True, text=good)


def compare(claims: Any, name: str, expected: Any) -> str:
    """The claim as it is, and what the trust expects."""
    texts = claim_texts(claims.get(name))
    value = ", ".join(texts) or ("missing" if name not in claims else json.dumps(claims[name]))
    return f"{value[:LONGEST_VALUE]} (expected: {' or '.join(expected)})"
