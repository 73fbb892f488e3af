"""Check whether a call with a key would pass, and why not. Uses the proxy's own code; sends nothing to MLflow."""

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.formatting.invisible import escape
from keys.management.one_key import key_of
from proxy.policy import simulator


class Command(BaseCommand):
    help = (
        "Say whether a call with this key would pass, and if not, why. Exit status 0 if it would, 1 if not."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key_id", metavar="KEY_ID", help="key_…, as list_keys shows it")
        parser.add_argument("method", metavar="METHOD", help="GET, POST, …")
        parser.add_argument("path", metavar="PATH", help="as MLflow's client sends it, with its query if any")
        parser.add_argument("--body", metavar="FILE", help="the request's body; - for standard input")
        parser.add_argument(
            "--address", default="", help="the caller's IP address, for keys limited to networks"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        verdict = simulator.simulate(
            key_of(options["key_id"]),
            method=options["method"].upper(),
            target=options["path"],
            body=body(options["body"]),
            address=options["address"],
        )
        if options["json"]:
            self.stdout.write(json.dumps(verdict.as_dict()))
        else:
            self.stdout.write(
                escape(f"{'yes' if verdict.passes else f'no ({verdict.status})'}: {verdict.message}")
            )
        if not verdict.passes:
            sys.exit(1)


def body(file: str | None) -> bytes:
    if file is None:
        return b""
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise CommandError(f"--body: {file} cannot be read: {error.strerror}") from None
