"""Filters of a list as options of a command, with the API's error texts."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError
from django.db.models import QuerySet


def filter_rows(filters: Any, rows: QuerySet[Any], parameters: Mapping[str, Any]) -> Any:
    """The rows that the API lists for the same parameters. Raises CommandError, which names the option."""
    given = {name: value for name, value in parameters.items() if value}
    filter_set = filters(given, rows)
    if not filter_set.is_valid():
        name, errors = next(iter(filter_set.errors.items()))
        raise CommandError(f"--{name.replace('_', '-')}: {errors[0]}")
    return filter_set.qs
