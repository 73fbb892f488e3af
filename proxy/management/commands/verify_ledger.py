"""Verify that nobody changed the ledger of registrations afterwards, and the time-stamps of its heads."""

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.formatting.invisible import escape
from proxy.ledger import stamps
from proxy.ledger.authority import AuthorityError
from proxy.ledger.verification import Head
from proxy.models import Registration
from proxy.provenance import verification


class Command(BaseCommand):
    help = (
        "Check every row of the ledger against its hash chain, and name the first break. "
        "Exit status 0 if the ledger is whole, 1 if not."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--head",
            action="store_true",
            help="print the chain's head as one line of JSON, to store elsewhere (>> heads.jsonl)",
        )
        parser.add_argument(
            "--since-head",
            metavar="FILE",
            help="also check that the heads in FILE, one per line, are still in the chain, and their time-stamps; "
            "- for standard input",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        verdict = verification.verify(heads(options["since_head"]), on_rows=self.show_progress)
        pending = Registration.objects.pending().count()
        if options["json"]:
            summary: dict[str, Any] = {"ok": not verdict.problem, "rows": verdict.rows, "pending": pending}
            head = verdict.head and json.loads(verdict.head.as_json())
            summary |= {"head": head, "problem": verdict.problem, "time_stamps": verdict.stamps.as_json()}
            self.stdout.write(json.dumps(summary))
        elif verdict.problem:
            self.stderr.write(
                escape(f"The ledger is broken after {verdict.rows} good rows: {verdict.problem}.")
            )
        elif options["head"]:
            if verdict.head is None:
                raise CommandError("the ledger is empty; there is no head to export yet")
            self.stdout.write(verdict.head.as_json())
        else:
            self.stdout.write(
                f"The ledger is whole: {verdict.rows} rows in one chain, {pending} more pending"
                f"{f', its head {verdict.head.hash}' if verdict.head else ''}. {verdict.stamps.in_words()}"
            )
        if verdict.problem:
            sys.exit(1)

    def show_progress(self, rows: int) -> None:
        """For a person at a terminal; not for files and pipes."""
        if self.stderr.isatty():
            self.stderr.write(f"{rows:,} rows verified …", self.style.NOTICE)


def heads(file: str | None) -> list[Head]:
    if file is None:
        return []
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
        parsed = stamps.read_heads(text)
    except OSError as error:
        raise CommandError(f"--since-head: {file} cannot be read: {error.strerror}") from None
    except AuthorityError as error:
        raise CommandError(f"--since-head: a time-stamp in {file} is not valid: {error}") from None
    except ValueError:
        raise CommandError(f"--since-head: {file} does not contain heads as --head prints them") from None
    if not parsed:
        raise CommandError(f"--since-head: {file} contains no head")
    return parsed
