"""List what a key or a user created, changed or downloaded since a time."""

import dataclasses
import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.formatting import durations, tables
from keys.management.one_key import key_of
from keys.management.one_user import NAME_OR_ID, user_of
from keys.models import ApiKey, User
from proxy.ledger import incident
from proxy.ledger.incident import FILE_FIELDS, Change

FIELDS = [field.name for field in dataclasses.fields(Change)]
COLUMNS = [
    "at",
    "operation",
    "kind",
    "name",
    "version",
    "new_name",
    "outcome",
    "times",
    "bytes",
    "key",
    "address",
]


class Command(BaseCommand):
    help = "List everything that a key, or all keys of a user, created, changed or downloaded since a time."

    def add_arguments(self, parser: CommandParser) -> None:
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("--key", metavar="KEY_ID", help="key_…, as list_keys shows it")
        whose.add_argument("--user", help=NAME_OR_ID)
        add_since(parser)
        parser.add_argument(
            "--files", action="store_true", help="list the files that it wrote, with their SHA-256, instead"
        )
        tables.add_forms(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        key = key_of(options["key"]) if options["key"] else None
        user = user_of(options["user"]) if options["user"] else None
        if options["files"]:
            self.show_files(key, user, options)
            return
        touches = incident.blast_radius(since=time_of_option(options["since"]), key=key, user=user)
        rows = [format_change(touch) for touch in touches]
        if options["csv"] or options["jsonl"]:
            tables.print_file(self, FIELDS, rows, options)
            return
        empty = "Nothing was created, changed or downloaded."
        tables.show(self, COLUMNS, rows, as_json=options["json"], empty=empty)

    def show_files(self, key: ApiKey | None, user: User | None, options: dict[str, Any]) -> None:
        since = time_of_option(options["since"])
        rows = [
            dataclasses.asdict(change) for change in incident.file_changes(since=since, key=key, user=user)
        ]
        if options["csv"] or options["jsonl"]:
            tables.print_file(self, FILE_FIELDS, rows, options)
            return
        columns = ["at", "event", "path", "bytes", "sha256"]
        tables.show(self, columns, rows, as_json=options["json"], empty="No file was written.")


def add_since(parser: CommandParser, *, required: bool = True) -> None:
    parser.add_argument(
        "--since",
        required=required,
        metavar="TIME",
        help="2026-11-23, 2026-11-23T14:30 (UTC), or 12h, 90d ago",
    )


def time_of_option(text: str) -> datetime.datetime:
    """The time of the option --since. Raises CommandError."""
    try:
        return durations.parse_time(text)
    except ValueError as error:
        raise CommandError(f"--since: {error}") from None


def format_change(touch: Change) -> dict[str, Any]:
    """The change as a row, with times to the second."""
    last = touch.last.replace(microsecond=0) if touch.last else None
    return {**dataclasses.asdict(touch), "at": touch.at.replace(microsecond=0), "last": last}
