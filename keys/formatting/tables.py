"""Lists as the commands print them, for people and for programs."""

import datetime
import json
from argparse import ArgumentTypeError
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.formatting import durations
from keys.formatting.csv_export import csv_lines, json_lines
from keys.formatting.invisible import escape, escape_json
from keys.formatting.moments import format_time, time_as_json


def parse_whole_number(text: str) -> int:
    """A number from 0 up; argparse says so of anything else."""
    if not (text.isascii() and text.isdigit()):
        raise ArgumentTypeError(f"“{text}” is no whole number from 0 up")
    return int(text)


def add_limit(parser: CommandParser) -> None:
    parser.add_argument(
        "--limit",
        type=parse_whole_number,
        default=100,
        metavar="N",
        help="the newest N (default 100); 0 for all",
    )


def add_span(parser: CommandParser) -> None:
    parser.add_argument(
        "--since",
        metavar="TIME",
        help="from then on: 2026-11-23, 2026-11-23T14:30 (UTC), or 12h, 90d ago",
    )
    parser.add_argument("--until", metavar="TIME", help="before then, written like --since")


def add_forms(parser: CommandParser) -> None:
    """The options that print for programs instead of people."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON list, all columns")
    form.add_argument("--csv", action="store_true", help="print CSV, all columns")
    form.add_argument("--jsonl", action="store_true", help="print JSON Lines, all columns")


def span(options: dict[str, Any]) -> dict[str, datetime.datetime]:
    """`since` and `until`, those that were given. Raises CommandError."""
    times = {}
    for name in ("since", "until"):
        if options[name]:
            try:
                times[name] = durations.parse_time(options[name])
            except ValueError as error:
                raise CommandError(f"--{name}: {error}") from None
    return times


def limit_rows(rows: Iterable[Any], limit: int) -> Iterable[Any]:
    return islice(rows, limit) if limit > 0 else rows


def show(
    command: BaseCommand, columns: Sequence[str], rows: Iterable[dict[str, Any]], *, as_json: bool, empty: str
) -> None:
    """Print the rows: as one JSON list, else these columns as a table; `empty` in its place without rows."""
    if as_json:
        command.stdout.write(escape_json(json.dumps(list(rows), ensure_ascii=False, default=time_as_json)))
        return
    texts = [[cell(row[column]) for column in columns] for row in rows]
    for line in lines([list(columns), *texts]) if texts else [empty]:
        command.stdout.write(line)


def print_file(
    command: BaseCommand, fields: Sequence[str], rows: Iterable[dict[str, Any]], options: dict[str, Any]
) -> None:
    """Print the rows as CSV (`--csv`) or JSON Lines while they are read, without holding all of them in memory."""
    with suppress(BrokenPipeError):  # | head
        for line in csv_lines(fields, rows) if options["csv"] else map(escape_json, json_lines(fields, rows)):
            command.stdout.write(line, ending="")
        command.stdout.flush()


def lines(table: list[list[str]]) -> Iterator[str]:
    """Each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        yield "  ".join(padded).rstrip()


def cell(value: Any) -> str:
    """A value in a table for people: times to the minute, with their zone, `-` for none, invisible characters as
    escapes."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime.datetime):
        return format_time(value)
    text = escape(value)
    is_time = len(text) >= 20 and text[4:5] + text[7:8] + text[10:11] == "--T"
    return f"{text[:16].replace('T', ' ')} UTC" if is_time else text
