"""The conditions of a trust: claims and globs. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import Any

from keys.credentials.key_sets import KeySource

Conditions = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A trust as a call needs it. `key_id` and `organisation_id` are the rows' numbers."""

    id: int
    key_id: int
    organisation_id: int
    audience: str
    conditions: Conditions
    source: KeySource

    @property
    def issuer(self) -> str:
        return self.source.issuer


def freeze(conditions: Mapping[str, Sequence[str]]) -> Conditions:
    return tuple((name, tuple(globs)) for name, globs in sorted(conditions.items()))


@lru_cache(maxsize=2000)
def compile_glob(glob: str) -> re.Pattern[str]:
    """`*` is any text, `?` any character, everything else itself. The expression takes time in proportion to the text,
    however many `*` it has (`fnmatch.translate`)."""
    return re.compile(translate(glob.replace("[", "[[]")))


def claim_texts(value: Any) -> list[str]:
    """The texts that a claim's value stands for: one of a list of texts is enough."""
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, str | int):
        return [str(value)]
    if isinstance(value, list):
        return [text for text in value if isinstance(text, str)]
    return []


def matches_globs(value: Any, globs: Sequence[str]) -> bool:
    return any(compile_glob(glob).match(text) for text in claim_texts(value) for glob in globs)


def has_audience(claims: Mapping[str, Any], audience: str) -> bool:
    """Whether the claim `aud` is the audience, or a list that contains it."""
    value = claims.get("aud")
    return value == audience or (isinstance(value, list) and audience in value)


def failing_claims(rule: Rule, claims: Mapping[str, Any]) -> list[str]:
    """The claims because of which the trust does not accept a token: `aud` first, then those of its conditions."""
    failing = [] if has_audience(claims, rule.audience) else ["aud"]
    return failing + [name for name, globs in rule.conditions if not matches_globs(claims.get(name), globs)]
