"""The rows of the dashboard (`python -m benchmarks`): each benchmark adds its own to the file that RESULTS names."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure: a ratio, or a number of calls. `most` and `least`: its target, if it has one."""

    what: str
    result: float
    most: float | None = None
    least: float | None = None
    detail: str = ""  # the absolute figures

    @property
    def is_met(self) -> bool:
        return (self.most is None or self.result <= self.most) and (
            self.least is None or self.result >= self.least
        )


def save(*rows: Row) -> None:
    """Append the rows to the file, if one is named."""
    if path := os.environ.get("RESULTS"):
        with Path(path).open("a") as file:
            file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)
