"""Sums of calls and bytes, by key, user, operation, status, time or model."""

from collections.abc import Callable
from typing import Any

from django.db.models import Model

from keys.models import ApiKey, Organisation, User

GROUPS = {  # by parameter: the column to group by, and its name in the result
    "key": {"key_id": "key"},
    "user": {"user_id": "user"},
    "organisation": {"organisation_id": "organisation"},
    "operation": {"operation": "operation"},
    "status": {"status_class": "status"},
    "day": {"start": "start"},
    "hour": {"start": "start"},
    "month": {"month": "start"},
}
NAMED: dict[str, tuple[type[Model], str]] = {"key": (ApiKey, "name"), "user": (User, "username")}
STEPS = {"hour", "day", "month"}  # a sum is by one of these at most
MODEL = "model"
MOST_ROWS = 1000

Narrow = Callable[[Any], Any]
Names = dict[int, tuple[str, str]]


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
    rows = [
        {columns.get(name, name): round_milliseconds(value) for name, value in row.items()} for row in grouped
    ]
    found = {group: read_names(group, {row[group] for row in rows}) for group in NAMED if group in by}
    if "organisation" in by:
        slugs = dict(Organisation.objects.values_list("pk", "slug"))
        rows = [{**row, "organisation": slugs.get(row["organisation"])} for row in rows]
    return [with_names(row, found) for row in rows]


def read_names(group: str, numbers: set[int | None]) -> Names:
    """The ids and names of these keys or users, in one query: much faster than to group all totals by texts of another
    table."""
    model, name = NAMED[group]
    found = model._default_manager.filter(pk__in=numbers - {None})
    return {pk: (public_id, text) for pk, public_id, text in found.values_list("pk", "public_id", name)}


def with_names(row: dict[str, Any], names: dict[str, Names]) -> dict[str, Any]:
    """The row with `key_id` and `key` in place of a key's number, and the same for users. Browsers have no key."""
    named: dict[str, Any] = {}
    for column, value in row.items():
        if column in names:
            named[f"{column}_id"], named[column] = names[column].get(value, (None, None))
        else:
            named[column] = value
    return named


def round_milliseconds(value: Any) -> Any:
    """Sums of milliseconds without floating-point noise."""
    return round(value, 3) if isinstance(value, float) else value
