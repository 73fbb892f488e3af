"""The rows of the dashboard (`python -m benchmarks`): each benchmark adds its own to the file that RESULTS names."""

import json
import os
import statistics
from collections.abc import Iterable
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


def median_ratio(values: Iterable[float], others: Iterable[float]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(value / other for value, other in zip(values, others, strict=True))


def report_rows(*rows: Row) -> int:
    """Print the rows and save them; the exit status: 1 if one misses its target."""
    for row in rows:
        detail = f" {row.detail}" if row.detail else ""
        print(f"  {row.what}: {row.result:.3f}{detail} ({'met' if row.is_met else 'missed'})")
    save(*rows)
    return int(not all(row.is_met for row in rows))


def save(*rows: Row) -> None:
    """Append the rows to the file, if one is named."""
    if path := os.environ.get("RESULTS"):
        with Path(path).open("a") as file:
            file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)
