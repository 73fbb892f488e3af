"""Compare the table of operations with the MLflow that is installed."""

import json
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from proxy.routes.message_types import FIELDS
from proxy.routes.reference import format_page
from proxy.routes.table import OPERATIONS

PAGE = settings.BASE_DIR / "docs" / "operations.md"
# Routes that exist only under `mlflow server --app-name basic-auth`.
BASIC_AUTH = ("/signup", "/api/2.0/mlflow/users/", "/api/3.0/mlflow/users/", "/api/3.0/mlflow/roles/")


class Command(BaseCommand):
    help = (
        "Compare the table of operations (proxy/routes/served.py, proxy/routes/refused.py) and the fields of their "
        "requests (proxy/routes/fields.json) with the MLflow that is installed; exit status 1 if they differ."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--write", action="store_true", help="regenerate proxy/routes/fields.json and docs/operations.md"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        from portal.management import installed_mlflow

        problems = differences(installed_mlflow.routes())
        facts = installed_mlflow.facts(readable())
        if options["write"]:
            FIELDS.write_text(json.dumps(facts, indent=1) + "\n")
            PAGE.write_text(format_page(OPERATIONS))
            self.stdout.write(f"wrote {FIELDS.name}, {len(facts['requests'])} requests, and docs/{PAGE.name}")
        elif json.loads(FIELDS.read_text()) != facts:
            problems.append(f"changed: the fields of requests; compare {FIELDS.name} after --write")
        for problem in problems:
            self.stdout.write(problem)
        if problems:
            raise CommandError(
                f"MLflow {installed_mlflow.version()} differs from the table in {len(problems)} points. A route that "
                "is not in the table is refused; decide for each whether to serve it."
            )
        self.stdout.write(f"MLflow {installed_mlflow.version()}: all {len(OPERATIONS)} rows agree.")


def differences(installed: set[tuple[str, str]]) -> list[str]:
    """`new: METHOD /path` for routes that the table lacks, `gone: …` for rows that MLflow lacks."""
    table = {(operation.method, operation.path) for operation in OPERATIONS}
    standard = {
        (method, path.replace("/ajax-api/", "/api/", 1))
        for method, path in installed
        if (method, path) not in table
    }
    new = sorted(f"new: {method} {path}" for method, path in standard - table)
    gone = sorted(
        f"gone: {method} {path}" for method, path in table - installed if not path.startswith(BASIC_AUTH)
    )
    return new + gone


def readable() -> set[str]:
    """The routes whose requests the portal reads."""
    return {f"{operation.method} {operation.path}" for operation in OPERATIONS if operation.names_objects}
