"""Hokusai's tag rules on a model's version: complete, missing or malformed, and why. They never block."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.models import Registration

STATES = COMPLETE, MISSING, MALFORMED = "complete", "missing", "malformed"
TOKEN_ID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?")
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")

Tags = Mapping[str, str | None]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """How a version's tags stand: `state`, and what is wrong in words (none if complete)."""

    state: str
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "; ".join((self.state, *self.problems))


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


def check(tags: Tags) -> Finding:
    """What the rules say to these tags; a malformed one weighs more than a missing one."""
    missing = [f"{name} is missing" for name in RULES if tags.get(name) is None]
    malformed = [
        f"{name} {problem}"
        for name, rule in RULES.items()
        if (value := tags.get(name)) is not None and (problem := rule(value))
    ]
    state = MALFORMED if malformed else MISSING if missing else COMPLETE
    return Finding(state=state, problems=(*malformed, *missing))


@dataclass
class Now:
    """A version as the ledger has it by now: its model's name, its tags, and whether it still is."""

    name: str
    tags: dict[str, str | None]
    is_deleted: bool = False

    @property
    def finding(self) -> Finding:
        return check(self.tags)

    def follow(self, row: "Registration", version: str) -> None:
        """Take in what a later row did, if it concerns this version."""
        if self.is_deleted or row.object_name != self.name:
            return
        if row.operation == "registered-models.rename":
            self.name = row.new_name
        elif row.operation == "registered-models.delete":
            self.is_deleted = True
        elif row.version != version:
            return
        elif row.operation == "model-versions.delete":
            self.is_deleted = True
        elif row.operation in ("model-versions.set-tag", "model-versions.delete-tag"):
            self.tags |= row.tags


FOLLOWED = (
    "registered-models.rename",
    "registered-models.delete",
    "model-versions.delete",
    "model-versions.set-tag",
    "model-versions.delete-tag",
)


def now(versions: "Iterable[Registration]") -> "dict[int, Now]":
    """How each version stands by now, by the id of the row that registered it (`Registration.versions`);
    for a page of them at a time. One query, and one more for each step in a chain of renames."""
    versions = list(versions)
    standing = {row.pk: Now(name=row.object_name, tags=dict(row.tags)) for row in versions}
    by_name: dict[tuple[str, str], list[Registration]] = {}
    for row in versions:
        by_name.setdefault((row.environment, row.object_name), []).append(row)
    for later in later_rows(versions):
        concerned = by_name.get((later.environment, later.object_name), [])
        older = [row for row in concerned if row.pk < later.pk]
        for row in older:
            standing[row.pk].follow(later, row.version)
        if later.operation == "registered-models.rename":
            by_name.setdefault((later.environment, later.new_name), []).extend(older)
    return standing


def later_rows(versions: "list[Registration]") -> "list[Registration]":
    """Every row that may concern these versions, under all names that their models had since, oldest first."""
    from proxy.models import Registration

    found: dict[int, Registration] = {}
    seen: set[str] = set()
    names = {row.object_name for row in versions}
    while names:
        rows = Registration.objects.effective().filter(
            operation__in=FOLLOWED, object_name__in=names, id__gt=min(row.pk for row in versions)
        )
        found |= {row.pk: row for row in rows}
        seen |= names
        names = {row.new_name for row in rows if row.new_name} - seen
    return [found[pk] for pk in sorted(found)]
