"""Sums of calls and bytes, by key, user, operation, status, time or model."""

from collections.abc import Callable
from typing import Any

GROUPS = {  # by parameter: the columns to group by, and their names in the result
    "key": {"key__public_id": "key_id", "key__name": "key"},
    "user": {"user__public_id": "user_id", "user__username": "user"},
    "operation": {"operation": "operation"},
    "status": {"status_class": "status"},
    "day": {"start": "start"},
    "hour": {"start": "start"},
    "month": {"month": "start"},
}
STEPS = {"hour", "day", "month"}  # a sum is by one of these at most
MODEL = "model"
MOST_ROWS = 1000

Narrow = Callable[[Any], Any]


def sum_usage(
    *, by: list[str], since: Any, until: Any, rows: Any, narrow: Narrow, most: int | None = MOST_ROWS + 1
) -> list[dict[str, Any]]:
    """Sums of `rows`, most calls first. If there are more than MOST_ROWS, the result has MOST_ROWS + 1 (`most`).

    `rows` are calls if grouped by model, otherwise totals; `narrow` filters them further.
    """
    if MODEL in by:
        models = narrow(rows.between(since, until)).top_objects("registered_model", MOST_ROWS + 1)
        return [{"model": row["object_name"], "calls": row["calls"]} for row in models]
    totals = narrow((rows.by_hour() if "hour" in by else rows.by_day()).between(since, until))
    columns = {column: name for group in by for column, name in GROUPS[group].items()}
    if not columns:
        sums = totals.sums()
        names = ("calls", "bytes_in", "bytes_out", "duration_ms")
        return [{name: round_milliseconds(sums[name]) for name in names}]
    grouped = (totals.with_month() if "month" in by else totals).grouped(*columns)[:most]
    return [
        {columns.get(name, name): round_milliseconds(value) for name, value in row.items()} for row in grouped
    ]


def round_milliseconds(value: Any) -> Any:
    """Sums of milliseconds without floating-point noise."""
    return round(value, 3) if isinstance(value, float) else value
