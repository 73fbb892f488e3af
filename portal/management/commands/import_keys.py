"""Take over the keys of another system from a file."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.actions import ActionError
from keys.credentials import tokens
from keys.formatting.invisible import escape
from keys.management.progress import progress_on
from portal.management.key_file import KeyLine, read_lines
from portal.management.key_import import Counts, check_lines, import_lines

MOST_PROBLEMS = 50  # that are printed; the others are counted


class Command(BaseCommand):
    help = (
        "Take over the keys of another system, with their users and what these own. All lines are checked first, and "
        "nothing is written if one is wrong. If it is interrupted, run it again: it skips what it has done."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "file",
            type=Path,
            metavar="FILE",
            help="one key a line: JSON Lines, or CSV with a header if the name ends in .csv",
        )
        parser.add_argument("--dry-run", action="store_true", help="check everything, and write nothing")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            lines, problems = read_lines(options["file"])
        except OSError as error:
            raise CommandError(f"{error.strerror}: {escape(options['file'])}") from None
        except ActionError as error:
            raise CommandError(f"{escape(error)}.") from None
        if not lines and not problems:
            raise CommandError("the file has no lines")
        counts, more = check_lines(lines, on_progress=progress_on(self.stderr, "lines checked"))
        if problems := problems | more:
            raise CommandError(describe_problems(problems))
        if not options["dry_run"]:
            try:
                counts = import_lines(lines, on_progress=progress_on(self.stderr, "lines imported"))
            except ActionError as error:
                raise CommandError(f"{tokens.hide(escape(error))}.") from None
        if options["json"]:
            self.stdout.write(json.dumps({**asdict(counts), "done": not options["dry_run"]}))
            return
        self.stdout.write(escape(describe_counts(counts, is_dry_run=options["dry_run"])))
        if needs_old_pepper(lines):
            self.stderr.write(
                "KEY_PEPPERS has one pepper only. Keys that are imported as digests work only if the digests were made "
                "with a pepper in KEY_PEPPERS."
            )


def describe_problems(problems: dict[int, str]) -> str:
    texts = [f"line {number}: {tokens.hide(escape(problems[number]))}." for number in sorted(problems)]
    rest = len(texts) - MOST_PROBLEMS
    more = [f"… and {rest:,} more."] if rest > 0 else []
    return "\n".join(["Nothing was imported.", *texts[:MOST_PROBLEMS], *more])


def describe_counts(counts: Counts, *, is_dry_run: bool) -> str:
    begin = "Would be imported" if is_dry_run else "Imported"
    return (
        f"{begin}: {counts.keys:,} keys, {counts.users:,} new users, {counts.members:,} new members, "
        f"{counts.objects:,} objects with an owner. Imported before: {counts.skipped:,} keys."
    )


def needs_old_pepper(lines: list[KeyLine]) -> bool:
    return len(settings.KEY_PEPPERS) == 1 and any(line.is_by_digest for line in lines)
