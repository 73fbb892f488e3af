"""`manage.py doctor`: checks a portal from the outside, step by step, and explains each failure."""

import json
import os
import sys
import textwrap
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.formatting.invisible import escape, escape_json
from portal.doctor.context import Context
from portal.doctor.outcomes import FAILED, OK, SKIPPED, Result
from portal.doctor.steps import redact, run_steps

WIDTH = 100
INDENT = " " * 34


class Command(BaseCommand):
    help = (
        "Check a portal from the outside, step by step, and explain each failure. Needs no settings. "
        "Exit status 0 only if no step failed."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--url",
            default=os.environ.get("MLFLOW_TRACKING_URI", ""),
            help="the portal's address, with or without /api/mlflow (default: MLFLOW_TRACKING_URI)",
        )
        parser.add_argument(
            "--key",
            default=os.environ.get("MLFLOW_TRACKING_TOKEN", ""),
            help="the API key (default: MLFLOW_TRACKING_TOKEN, where other users of this machine do not see it)",
        )
        parser.add_argument(
            "--write",
            action="store_true",
            help="also log a run with an artifact in Default and register a model; delete them if the key can",
        )
        parser.add_argument(
            "--model",
            default="",
            metavar="NAME",
            help="the model that --write registers, for keys with name patterns",
        )
        parser.add_argument(
            "--ca",
            default="",
            metavar="FILE",
            help="certificates to trust, in PEM form, for a private authority",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["ca"] and not os.access(options["ca"], os.R_OK):
            raise CommandError(f"--ca: the file {options['ca']} cannot be read")
        context = Context(
            url=options["url"],
            key=options["key"],
            ca=options["ca"],
            write=options["write"],
            model=options["model"],
        )
        results: list[Result] = []
        try:
            for result in run_steps(context):
                if not options["json"]:
                    self.show(result, after=results)
                results.append(result)
        except KeyboardInterrupt:  # created objects have been deleted by now
            sys.exit(130)
        is_well = all(result.verdict != FAILED for result in results)
        if options["json"]:
            steps = [asdict(result) for result in results]
            url = redact(context.url, context.key)
            report = {"ok": is_well, "url": url, "steps": steps}
            self.stdout.write(escape_json(json.dumps(report, ensure_ascii=False)))
        else:
            self.stdout.write("\n" + escape(summary(results)))
        if not is_well:
            sys.exit(1)

    def show(self, result: Result, *, after: list[Result]) -> None:
        """Print a step, its warnings and its advice; a reason that several steps in a row share is printed once."""
        paint: Callable[[str], str] = {OK: self.style.SUCCESS, FAILED: self.style.ERROR}.get(
            result.verdict, str
        )
        took = "" if result.verdict == SKIPPED else f"{result.ms:.0f} ms"
        head = f"{paint(f'{result.verdict:<8}')} {result.step:<14} {took:>8}  "
        is_repeated = bool(after) and (after[-1].verdict, after[-1].detail) == (SKIPPED, result.detail)
        detail = "″" if is_repeated else result.detail
        self.stdout.write(head + wrap(detail).lstrip())
        for warning in result.warnings:
            self.stdout.write(self.style.WARNING(wrap(warning, mark="! ")))
        if result.advice:
            self.stdout.write(wrap(result.advice, mark="→ "))
        self.stdout.flush()


def wrap(text: str, *, mark: str = "") -> str:
    """Text in the right column, its first line after `mark`."""
    return textwrap.fill(
        escape(text),
        width=WIDTH,
        initial_indent=INDENT + mark,
        subsequent_indent=INDENT + " " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )


def summary(results: list[Result]) -> str:
    counts = {
        verdict: sum(result.verdict == verdict for result in results) for verdict in (OK, FAILED, SKIPPED)
    }
    failed = [result.step for result in results if result.verdict == FAILED]
    seconds = sum(result.ms for result in results) / 1000
    tally = (
        f"{counts[OK]} of {len(results)} steps passed, {counts[SKIPPED]} were skipped, in {seconds:.1f} s."
    )
    return f"Failed: {', '.join(failed)}. {tally}" if failed else f"No step failed: {tally}"
