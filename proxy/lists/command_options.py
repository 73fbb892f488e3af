"""Options and output of the commands that list calls, registrations and usage. They use the API's filters."""

from collections.abc import Iterable
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db.models import QuerySet

from keys.formatting import tables
from keys.lists import command_options


def add(parser: CommandParser, **filters: str) -> None:
    """Add an option for each filter, given as name=help, and the options of the output."""
    for name, help_text in filters.items():
        parser.add_argument(f"--{name.replace('_', '-')}", help=help_text)
    tables.add_span(parser)
    tables.add_limit(parser)
    tables.add_forms(parser)


def span(options: dict[str, Any]) -> dict[str, str]:
    """`since` and `until` in the filters' format."""
    return {name: at.isoformat() for name, at in tables.span(options).items()}


def filter_rows(filters: Any, rows: QuerySet[Any], options: dict[str, Any]) -> Any:
    """The rows that the API lists for the same filters. Raises CommandError."""
    asked = {name: options[name] for name in filters.base_filters if options.get(name)}
    return command_options.filter_rows(filters, rows, {**asked, **span(options)})


def show(
    command: BaseCommand,
    rows: Iterable[dict[str, Any]],
    options: dict[str, Any],
    *,
    fields: list[str],
    columns: tuple[str, ...],
    empty: str,
) -> None:
    """Print the rows in the requested format."""
    rows = tables.limit_rows(rows, options["limit"])
    if options["csv"] or options["jsonl"]:
        tables.print_file(command, fields, rows, options)
    else:
        tables.show(command, columns, rows, as_json=options["json"], empty=empty)
