"""From a signed token to the key of the trust that accepts it.

All trusts are in memory, so that a token of an unknown issuer costs no query. A token that was verified is remembered
by the hash of its headers, until its end or until the trusts or the issuer's keys change.
"""

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from django.db.models import F

from keys.credentials import cache, signed_tokens
from keys.credentials.conditions import Rule, failing_claims, freeze
from keys.credentials.key_sets import KeySets, KeySource, key_sets
from keys.credentials.signed_tokens import LEEWAY, KeySet, SignedToken
from keys.database import database_required
from keys.models import ApiKey, Trust
from keys.refusals import Refusal, invalid, unauthenticated

ALL = "all"
MOST_REMEMBERED = 10_000  # tokens
DATABASE_MESSAGE = "The portal cannot check signed tokens just now. Try again in a few seconds."

Rules = Mapping[str, tuple[Rule, ...]]  # by issuer


class Accepted(NamedTuple):
    """A verified token. It counts only as long as `rules` and `keys` are the present ones."""

    rule: Rule
    subject: str
    ends: float
    rules: Rules
    keys: KeySet


class TrustedKey(NamedTuple):
    key: ApiKey
    subject: str


rule_cache: cache.RowCache[Rules] = cache.RowCache()
cache.caches.append(rule_cache)
_latest: Rules = {}


def on_change(kind: str, name: str) -> None:
    if kind in ("trust", "key"):  # a revoked key's trust is none any more
        rule_cache.drop(ALL)


cache.change_listeners.append(on_change)


def read_rules() -> Rules:
    """All trusts whose key is not revoked, from PostgreSQL. The same object as before if nothing changed."""
    global _latest
    found: dict[str, tuple[Rule, ...]] = {}
    rows = Trust.objects.filter(key__revoked_at=None).order_by("pk")
    for trust in rows.annotate(organisation_id=F("key__organisation_id")):
        rule = rule_of(trust, trust.organisation_id)  # type: ignore[attr-defined]
        found[rule.issuer] = (*found.get(rule.issuer, ()), rule)
    if found != _latest:
        _latest = found
        key_sets.keep_only({rule.source for rules in found.values() for rule in rules})
    return _latest


def rule_of(trust: Trust, organisation_id: int) -> Rule:
    return Rule(
        id=trust.pk,
        key_id=trust.key_id,
        organisation_id=organisation_id,
        audience=trust.audience,
        conditions=freeze(trust.conditions),
        source=KeySource(
            issuer=trust.issuer,
            uploaded=json.dumps(trust.key_set) if trust.key_set else "",
            is_private=trust.is_private,
            ca=trust.ca,
        ),
    )


class Memory:
    """Verified tokens by the hash of the headers that carried them; the oldest is dropped first. Thread-safe."""

    def __init__(self, size: int = MOST_REMEMBERED) -> None:
        self.size, self.lock = size, threading.Lock()
        self.tokens: OrderedDict[bytes, Accepted] = OrderedDict()

    def find(self, headers: bytes, *, rules: Rules, key_sets: KeySets, now: float) -> Accepted | None:
        accepted = self.tokens.get(headers)
        if accepted is None:
            return None
        is_present = accepted.rules is rules and accepted.keys is key_sets.current(accepted.rule.source)
        return accepted if is_present and now <= accepted.ends + LEEWAY else None

    def keep(self, headers: bytes, accepted: Accepted) -> None:
        with self.lock:
            self.tokens.pop(headers, None)
            self.tokens[headers] = accepted
            while len(self.tokens) > self.size:
                self.tokens.popitem(last=False)


memory = Memory()


def find_trusted_key(text: str, headers: bytes) -> TrustedKey:
    """The key that this token acts as, and the token's subject. `headers`: the hash of those that carry it.

    Raises Refusal (400, 401, 429)."""
    accepted = accept(text, present_rules(), key_sets, now=time.time())
    memory.keep(headers, accepted)
    return TrustedKey(key_of(accepted.rule), accepted.subject)


def recall_trusted_key(headers: bytes) -> TrustedKey | None:
    """The same for a token that was verified before, without reading it again. Raises Refusal (401, 429)."""
    if headers not in memory.tokens:
        return None
    accepted = memory.find(headers, rules=present_rules(), key_sets=key_sets, now=time.time())
    return TrustedKey(key_of(accepted.rule), accepted.subject) if accepted else None


def present_rules() -> Rules:
    with database_required(DATABASE_MESSAGE):
        return rule_cache.get(ALL, read_rules) or {}


def key_of(rule: Rule) -> ApiKey:
    with database_required(DATABASE_MESSAGE):
        key = cache.key_cache.get(
            f"trust:{rule.key_id}", lambda: ApiKey.objects.with_owner().filter(pk=rule.key_id).first()
        )
    if key is None:
        raise unknown_issuer()
    return key


def accept(text: str, rules: Rules, sets: KeySets, *, now: float) -> Accepted:
    """The trust that accepts the token. Raises Refusal, which names the claim and repeats nothing of the token."""
    token = signed_tokens.parse(text)
    issuer = token.claims.get("iss")
    candidates = rules.get(issuer, ()) if isinstance(issuer, str) else ()
    if not candidates:
        raise unknown_issuer()
    verified = [rule for rule in candidates if not has_wrong_audience(rule, token)] or list(candidates)
    keys = verify(token, verified, sets)
    ends = signed_tokens.check_times(token.claims, now)
    subject = signed_tokens.read_subject(token.claims)
    rule = choose([rule for rule in verified if rule.source in keys], token)
    return Accepted(rule, subject, ends, rules, keys[rule.source])


def has_wrong_audience(rule: Rule, token: SignedToken) -> bool:
    return "aud" in failing_claims(rule, token.claims)[:1]


def verify(token: SignedToken, rules: list[Rule], sets: KeySets) -> dict[KeySource, KeySet]:
    """The key sets that verify the token, by source: two trusts may have an issuer's keys from different sources.
    Raises the last Refusal if none does."""
    found: dict[KeySource, KeySet] = {}
    failure: Refusal | None = None
    for source in dict.fromkeys(rule.source for rule in rules):
        try:
            key, keys = sets.find(source, token.key_id)
            signed_tokens.verify(token, key)
            found[source] = keys
        except Refusal as refusal:
            failure = refusal
    if not found and failure is not None:
        raise failure
    return found


def choose(rules: list[Rule], token: SignedToken) -> Rule:
    """The oldest trust whose conditions the claims fulfil. Raises Refusal: 401 if there is none, 400 if trusts of
    several organisations accept the token, because the call would otherwise act in one that its sender did not mean.
    """
    failing = {rule: failing_claims(rule, token.claims) for rule in rules}
    accepting = [rule for rule in rules if not failing[rule]]
    if len({rule.organisation_id for rule in accepting}) > 1:
        raise invalid(
            "ambiguous_token",
            "Trusts of several organisations accept this token. Request the token with an audience (aud) that only "
            "your organisation's trust has.",
        )
    if accepting:
        return accepting[0]
    nearest = min(failing.values(), key=len)
    if nearest[0] == "aud":
        raise signed_tokens.wrong_claim(
            "aud", "is not the audience of a trust. Request the token with the trust's audience"
        )
    raise unauthenticated(
        "token_conditions",
        f"No trust accepts the token: the claim {', '.join(nearest)} does not fit its conditions. Run the job where "
        "the trust expects it, or ask the organisation's owner to change the trust's conditions.",
    )


def unknown_issuer() -> Refusal:
    return unauthenticated(
        "unknown_issuer",
        "No trust of this portal names the token's issuer (iss). Ask your organisation's owner to add one, or send "
        "an API key (hk_…) in its place.",
    )
