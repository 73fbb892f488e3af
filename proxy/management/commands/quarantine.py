"""Quarantine every version that a key registered since a time, or lift the quarantine of one version."""

import dataclasses
import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.actions import NotAllowed
from keys.formatting.invisible import escape
from keys.management.one_key import key_of
from keys.management.one_organisation import add_organisation, namespace_of
from keys.management.one_user import user_of
from keys.management.progress import progress_on
from keys.models import ApiKey, Namespace, User
from keys.refusals import Refusal
from proxy.ledger import incident
from proxy.ledger.incident import QuarantineResult
from proxy.management.commands.blast_radius import add_since, time_of_option
from proxy.policy.attribution import QUARANTINE_TAG
from proxy.upstream import registry

STOPPED = (ApiKey.State.REVOKED, ApiKey.State.PAUSED, ApiKey.State.EXPIRED)


class Command(BaseCommand):
    help = (
        f"Set the tag {QUARANTINE_TAG} on every version that a key registered since a time (--key, --since), or lift "
        "the quarantine of one version (--lift, --reason). Exit status 0 if all that still exist are marked, or the "
        "quarantine is lifted; 1 if not."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--key", metavar="KEY_ID", help="key_…, as list_keys shows it")
        what.add_argument(
            "--lift", nargs=2, metavar=("NAME", "VERSION"), help="lift the quarantine of this version"
        )
        add_since(parser, required=False)
        parser.add_argument(
            "--reason", default="", help="the tag's value (default: since today's date); why it is lifted"
        )
        parser.add_argument("--test", action="store_true", help="lift it in the test registry")
        add_organisation(parser)
        parser.add_argument(
            "--by",
            metavar="USER",
            help="name or id (usr_…) of who orders this, for the ledger; default: the command alone",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON list")

    def handle(self, *args: Any, **options: Any) -> None:
        by = user_of(options["by"]) if options["by"] else None
        try:
            results = self.lift(options, by) if options["lift"] else self.quarantine(options, by)
        except (registry.RegistryError, Refusal) as error:
            raise CommandError(
                f"{escape(error)} Run this again later; what is marked stays marked."
            ) from None
        except NotAllowed as error:
            raise CommandError(f"{error}: {by}") from None
        if options["json"]:
            self.stdout.write(json.dumps([dataclasses.asdict(result) for result in results]))
        elif not results:
            self.stdout.write("The key registered no version since then.")
        if any(result.result in ("failed", "not marked") for result in results):
            sys.exit(1)

    def quarantine(self, options: dict[str, Any], by: User | None) -> list[QuarantineResult]:
        if not options["since"]:
            raise CommandError(
                "--key also needs --since: the time from which on the key may have been in other hands"
            )
        key = key_of(options["key"])
        upstream = registry_of(key.namespace)
        if key.state not in STOPPED:
            self.stderr.write(
                f"Key {key.public_id} still works: what it registers from now on is not marked. "
                "Revoke it, and run this again."
            )
        return incident.quarantine(
            key=key,
            since=time_of_option(options["since"]),
            registry=upstream,
            reason=options["reason"],
            by=by,
            on_result=(lambda result: None) if options["json"] else self.print_result,
            on_progress=progress_on(self.stderr, "versions"),
        )

    def lift(self, options: dict[str, Any], by: User | None) -> list[QuarantineResult]:
        if not options["reason"]:
            raise CommandError("--lift also needs --reason: the ledger states why")
        name, version = options["lift"]
        environment = ApiKey.Environment.TEST if options["test"] else ApiKey.Environment.LIVE
        namespace = namespace_of(environment, options["organisation"])
        result = incident.lift(
            name=name,
            version=version,
            registry=registry_of(namespace),
            reason=options["reason"],
            by=by,
        )
        if not options["json"]:
            self.print_result(result)
        return [result]

    def print_result(self, mark: QuarantineResult) -> None:
        problem = f": {mark.problem}" if mark.problem else ""
        self.stdout.write(escape(f"{mark.name} version {mark.version}: {mark.result}{problem}"))


def registry_of(namespace: Namespace) -> registry.Registry:
    upstream = registry.registry_of(namespace)
    if upstream is None:
        raise CommandError("this is a test key, and MLFLOW_TEST_URL is not set")
    return upstream
