"""List API keys, never their secrets."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from keys.management.commands.issue_key import description
from keys.models import ApiKey

COLUMNS = ("id", "user", "name", "masked", "state", "created_at", "expires_at")


class Command(BaseCommand):
    help = "List API keys: masked, with owner, state and dates."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", help="only the keys of this user")
        parser.add_argument("--json", action="store_true", help="print a JSON list")

    def handle(self, *args: Any, **options: Any) -> None:
        keys = ApiKey.objects.with_owner()
        if options["user"]:
            keys = keys.filter(owner__username=options["user"])
        rows = [description(key) for key in keys]
        if options["json"]:
            self.stdout.write(json.dumps(rows))
            return
        if not rows:
            self.stdout.write("No keys yet. Issue one: manage.py issue_key --user NAME --name LABEL")
            return
        table = [list(COLUMNS), *([cell(row[column]) for column in COLUMNS] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for line in table:
            padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
            self.stdout.write("  ".join(padded).rstrip())


def cell(value: str | None) -> str:
    """A value in a table for people: times to the minute, `-` for none."""
    if value is None:
        return "-"
    return value[:16].replace("T", " ") if value[10:11] == "T" else value
