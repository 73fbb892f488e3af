"""Mark every version that a key registered since a time."""

import dataclasses
import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.management.one_key import key_of
from keys.management.one_user import user_of
from keys.models import ApiKey
from keys.refusals import Refusal
from proxy.ledger import incident
from proxy.ledger.incident import QuarantineResult
from proxy.management.commands.blast_radius import add_since, time_of_option
from proxy.policy.attribution import QUARANTINE_TAG
from proxy.upstream import registry

STOPPED = (ApiKey.State.REVOKED, ApiKey.State.PAUSED, ApiKey.State.EXPIRED)


class Command(BaseCommand):
    help = (
        f"Set the tag {QUARANTINE_TAG} on every version that a key registered since a time. "
        "Exit status 0 if all that still exist are marked, 1 if not."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--key", required=True, metavar="KEY_ID", help="key_…, as list_keys shows it")
        add_since(parser)
        parser.add_argument("--reason", default="", help="the tag's value; default: since today's date")
        parser.add_argument(
            "--by",
            metavar="USER",
            help="name or id (usr_…) of who orders this, for the ledger; default: the command alone",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON list")

    def handle(self, *args: Any, **options: Any) -> None:
        key = key_of(options["key"])
        upstream = registry.registries().get(key.environment)
        if upstream is None:
            raise CommandError("this is a test key, and MLFLOW_TEST_URL is not set")
        if key.state not in STOPPED:
            self.stderr.write(
                f"Key {key.public_id} still works: what it registers from now on is not marked. "
                "Revoke it, and run this again."
            )
        try:
            marks = incident.quarantine(
                key=key,
                since=time_of_option(options["since"]),
                registry=upstream,
                reason=options["reason"],
                by=user_of(options["by"]) if options["by"] else None,
                on_result=(lambda result: None) if options["json"] else self.print_result,
            )
        except (registry.RegistryError, Refusal) as error:
            raise CommandError(f"{error} Run this again later; what is marked stays marked.") from None
        if options["json"]:
            self.stdout.write(json.dumps([dataclasses.asdict(mark) for mark in marks]))
        elif not marks:
            self.stdout.write("The key registered no version since then.")
        if any(mark.result == "failed" for mark in marks):
            sys.exit(1)

    def print_result(self, mark: QuarantineResult) -> None:
        problem = f": {mark.problem}" if mark.problem else ""
        self.stdout.write(f"{mark.name} version {mark.version}: {mark.result}{problem}")
