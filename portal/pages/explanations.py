"""Explanations of refusals, read from docs/errors.md so that the document, its page and the account pages agree. A test
compares its reasons with those in the code."""

import re
from dataclasses import dataclass
from functools import cache

from django.conf import settings

ROW = re.compile(r"^\| `(?P<reason>[a-z_]+)` \| (?P<happened>.+) \| (?P<remedy>.+) \|$")
HEADING = re.compile(r"^## (?:(?P<status>\d{3}) `(?P<code>[A-Z_]+)`)?")


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A reason for a refusal: what happened and what to do, as one line of Markdown. `status` is None for reasons that
    appear only in the usage log."""

    reason: str
    status: int | None
    error_code: str
    happened: str
    remedy: str


def parse(text: str) -> dict[str, Explanation]:
    """The explanations by reason. Raises ValueError if a reason appears twice."""
    by_reason: dict[str, Explanation] = {}
    status, code = None, ""
    for line in text.splitlines():
        if heading := HEADING.match(line):
            status, code = int(heading["status"] or 0) or None, heading["code"] or ""
        elif row := ROW.match(line):
            if row["reason"] in by_reason:
                raise ValueError(f"{row['reason']} is explained twice")
            by_reason[row["reason"]] = Explanation(status=status, error_code=code, **row.groupdict())
    return by_reason


@cache
def explanations() -> dict[str, Explanation]:
    return parse((settings.BASE_DIR / "docs" / "errors.md").read_text(encoding="utf-8"))
