"""Compare the ledger of registrations with MLflow."""

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.formatting.invisible import escape
from keys.formatting.moments import format_rfc3339
from keys.models import Namespace
from proxy.ledger import comparison, reconcile
from proxy.ledger.comparison import RegistryObject
from proxy.ledger.reconcile import Reconciled
from proxy.upstream import registry


class Command(BaseCommand):
    help = (
        "Determine the outcome of pending registrations, and report models that were created or deleted without the "
        "portal. Exit status 0 if there was nothing to do or report, otherwise 1."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--all",
            action="store_true",
            help="include the newest pending rows; use it only while no calls are in progress",
        )
        parser.add_argument(
            "--import",
            action="store_true",
            dest="imports",
            help="add objects that were created without the portal to the ledger, owner unknown",
        )
        parser.add_argument(
            "--write-off",
            action="store_true",
            help="record objects that were deleted without the portal in the ledger, which ends their reports",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        report: dict[str, list[dict[str, Any]]] = {
            name: [] for name in ("settled", "around", "gone", "imported", "written_off")
        }
        try:
            for upstream in registry.registries():
                reconciled = reconcile.reconcile_pending(upstream, every=options["all"])
                report["settled"] += [outcome_row(row) for row in reconciled]
                compared = comparison.compare(upstream)
                gone = [object_row(each, upstream.namespace) for each in compared.missing]
                if options["write_off"]:
                    comparison.record_deletions(upstream.namespace, compared.missing)
                report["written_off" if options["write_off"] else "gone"] += gone
                around = [object_row(each, upstream.namespace) for each in compared.unrecorded]
                if options["imports"]:
                    comparison.import_unrecorded(upstream.namespace, compared.unrecorded)
                report["imported" if options["imports"] else "around"] += around
        except registry.RegistryError as error:
            raise CommandError(f"{escape(error)} Nothing is lost; run this again later.") from None
        if options["json"]:
            self.stdout.write(json.dumps(report))
        else:
            self.print_report(report)
        if any(report.values()):
            sys.exit(1)

    def print_report(self, report: dict[str, list[dict[str, Any]]]) -> None:
        if not any(report.values()):
            self.stdout.write("The ledger and MLflow agree.")
        for row in report["settled"]:
            who = f"{row['user'] or row['actor']} {row['key'] or ''}".strip()
            self.stdout.write(
                escape(
                    f"settled: {row['operation']} of {row['name']} by {who} at {row['at']}: {row['outcome']}"
                )
            )
        for word, comment in (
            ("around", "in MLflow but not in the ledger: created without the portal"),
            ("imported", "added to the ledger, owner unknown"),
            ("gone", "in the ledger but not in MLflow: deleted or renamed without the portal"),
            ("written_off", "recorded in the ledger as gone"),
        ):
            for row in report[word]:
                version = f" version {row['version']}" if row["version"] else ""
                self.stdout.write(
                    escape(
                        f"{word.replace('_', ' ')}: {row['name']}{version} ({row['environment']}): {comment}"
                    )
                )


def outcome_row(reconciled: Reconciled) -> dict[str, Any]:
    row = reconciled.row
    return {
        "request_id": row.request_id,
        "at": format_rfc3339(row.at.replace(microsecond=0)),
        "environment": row.environment,
        "operation": row.operation,
        "name": row.object_name,
        "version": row.version,
        "user": row.user and row.user.username,
        "key": row.key and row.key.public_id,
        "actor": row.actor,
        "outcome": str(reconciled.outcome),
    }


def object_row(registry_object: RegistryObject, namespace: Namespace) -> dict[str, Any]:
    return {
        "environment": namespace.environment,
        "name": registry_object.name,
        "version": registry_object.version,
        "created_ms": registry_object.created_ms,
    }
