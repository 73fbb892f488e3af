"""Hokusai's tag rules on a model's version: complete, missing or malformed, and why. They never block.

A version in quarantine is shown as that, whatever its tags.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

STATES = COMPLETE, MISSING, MALFORMED = "complete", "missing", "malformed"
QUARANTINED = "quarantined"
TOKEN_ID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?")
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")

Tags = Mapping[str, str | None]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The state of a version's tags, and what is wrong with them in words (none if complete).

    `state` is empty for a prompt, to which the rules do not apply. `quarantine` says since when the version is in
    quarantine, and why; empty if it is not.
    """

    state: str
    problems: tuple[str, ...] = ()
    quarantine: str = ""

    def __str__(self) -> str:
        return "; ".join(filter(None, (self.quarantine, self.state, *self.problems)))

    @property
    def label(self) -> str:
        """What lists show and filter by: quarantine outweighs the tags."""
        return QUARANTINED if self.quarantine else self.state


def token_id(value: str) -> str:
    if len(value) > 64:
        return f"has {len(value)} characters; 64 are the most"
    if TOKEN_ID.fullmatch(value):
        return ""
    if value.startswith("-") or value.endswith("-"):
        return "starts or ends with a hyphen"
    return "may hold only letters, digits and hyphens" if value else "is empty"


def metric(value: str) -> str:
    return "" if value.strip() else "is empty"


def number(value: str) -> str:
    if NUMBER.fullmatch(value) and math.isfinite(float(value)):
        return ""
    return f"is “{value[:40]}”, which is not a number" if value else "is empty"


RULES: dict[str, Callable[[str], str]] = {
    "hokusai_token_id": token_id,
    "benchmark_metric": metric,
    "benchmark_value": number,
}


def check_tags(tags: Tags) -> Finding:
    """What the rules say to these tags; a malformed one weighs more than a missing one."""
    missing = [f"{name} is missing" for name in RULES if tags.get(name) is None]
    malformed = [
        f"{name} {problem}"
        for name, rule in RULES.items()
        if (value := tags.get(name)) is not None and (problem := rule(value))
    ]
    state = MALFORMED if malformed else MISSING if missing else COMPLETE
    return Finding(state=state, problems=(*malformed, *missing))
