"""Hold the ledger of registrations against MLflow."""

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from proxy.ledger import comparison, reconcile
from proxy.ledger.comparison import RegistryObject
from proxy.ledger.reconcile import Reconciled
from proxy.upstream import registry


class Command(BaseCommand):
    help = (
        "Settle registrations whose answer was never seen, and report models that were made around the portal "
        "or are gone. Exit status 0 if there was nothing to do or to report, 1 if there was."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--all",
            action="store_true",
            help="settle pending rows however young; only while no calls are on their way",
        )
        parser.add_argument(
            "--import",
            action="store_true",
            dest="imports",
            help="write what was made around or before the portal into the ledger, owner unknown",
        )
        parser.add_argument(
            "--write-off",
            action="store_true",
            help="write what was deleted around the portal into the ledger as gone, so that it is not reported again",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        report: dict[str, list[dict[str, Any]]] = {
            name: [] for name in ("settled", "around", "gone", "imported", "written_off")
        }
        try:
            for environment, upstream in registry.registries().items():
                settled = reconcile.reconcile_pending(environment, upstream, every=options["all"])
                report["settled"] += [shown(found) for found in settled]
                compared = comparison.compare(environment, upstream)
                gone = [named(found, environment) for found in compared.missing]
                if options["write_off"]:
                    comparison.record_deletions(environment, compared.missing)
                report["written_off" if options["write_off"] else "gone"] += gone
                around = [named(found, environment) for found in compared.unrecorded]
                if options["imports"]:
                    comparison.import_unrecorded(environment, compared.unrecorded)
                report["imported" if options["imports"] else "around"] += around
        except registry.RegistryError as error:
            raise CommandError(f"{error} Nothing is lost; run this again later.") from None
        if options["json"]:
            self.stdout.write(json.dumps(report))
        else:
            self.tell(report)
        if any(report.values()):
            sys.exit(1)

    def tell(self, report: dict[str, list[dict[str, Any]]]) -> None:
        if not any(report.values()):
            self.stdout.write("The ledger and MLflow agree.")
        for row in report["settled"]:
            who = f"{row['user'] or row['actor']} {row['key'] or ''}".strip()
            self.stdout.write(
                f"settled: {row['operation']} of {row['name']} by {who} at {row['at']}: {row['outcome']}"
            )
        for word, comment in (
            ("around", "MLflow has it, the ledger does not: made around or before the portal"),
            ("imported", "written into the ledger, owner unknown"),
            ("gone", "the ledger has it, MLflow does not: deleted or renamed around the portal"),
            ("written_off", "written into the ledger as gone"),
        ):
            for row in report[word]:
                version = f" version {row['version']}" if row["version"] else ""
                self.stdout.write(
                    f"{word.replace('_', ' ')}: {row['name']}{version} ({row['environment']}): {comment}"
                )


def shown(found: Reconciled) -> dict[str, Any]:
    row = found.row
    return {
        "request_id": row.request_id,
        "at": row.at.isoformat(timespec="seconds"),
        "environment": row.environment,
        "operation": row.operation,
        "name": row.object_name,
        "version": row.version,
        "user": row.user and row.user.username,
        "key": row.key and row.key.public_id,
        "actor": row.actor,
        "outcome": str(found.outcome),
    }


def named(found: RegistryObject, environment: str) -> dict[str, Any]:
    return {
        "environment": environment,
        "name": found.name,
        "version": found.version,
        "created_ms": found.created_ms,
    }
