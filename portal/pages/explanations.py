"""Why a call was refused, in words: read from docs/errors.md, so that the page, the account pages and the
document cannot differ. A test compares its reasons with those in the code."""

import re
from dataclasses import dataclass
from functools import cache

from django.conf import settings

ROW = re.compile(r"^\| `(?P<reason>[a-z_]+)` \| (?P<happened>.+) \| (?P<remedy>.+) \|$")
HEADING = re.compile(r"^## (?:(?P<status>\d{3}) `(?P<code>[A-Z_]+)`)?")


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A reason for a refusal: what happened and what to do, as Markdown of one line. `status` is None for what
    only the log knows."""

    reason: str
    status: int | None
    error_code: str
    happened: str
    remedy: str


def parse(text: str) -> dict[str, Explanation]:
    """By reason. Raises ValueError for a reason that stands twice."""
    found: dict[str, Explanation] = {}
    status, code = None, ""
    for line in text.splitlines():
        if heading := HEADING.match(line):
            status, code = int(heading["status"] or 0) or None, heading["code"] or ""
        elif row := ROW.match(line):
            if row["reason"] in found:
                raise ValueError(f"{row['reason']} is explained twice")
            found[row["reason"]] = Explanation(status=status, error_code=code, **row.groupdict())
    return found


@cache
def explanations() -> dict[str, Explanation]:
    return parse((settings.BASE_DIR / "docs" / "errors.md").read_text(encoding="utf-8"))
