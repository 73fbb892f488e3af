"""Compare the table of operations with the MLflow that is installed."""

import json
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.formatting.invisible import escape
from portal.management import table_comparison
from proxy.routes import releases
from proxy.routes.message_types import FIELDS
from proxy.routes.reference import format_page
from proxy.routes.table import OPERATIONS

PAGE = settings.BASE_DIR / "docs" / "operations.md"
TABLE = ("proxy/routes/served.py", "proxy/routes/refused.py", "proxy/routes/releases.py")


class Command(BaseCommand):
    help = (
        "Compare the table of operations (proxy/routes/served.py, proxy/routes/refused.py), the fields of their "
        "requests (proxy/routes/fields.json) and the tags on which the server acts (proxy/policy/server_tags.py) with "
        "the MLflow that is installed, and print a patch for the table; exit status 1 if they differ."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--write",
            action="store_true",
            help="regenerate docs/operations.md, and add the installed MLflow's fields to proxy/routes/fields.json",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        from portal.management import installed_mlflow

        release = releases.parse(installed_mlflow.version())
        if release is None:
            raise CommandError(f"“{installed_mlflow.version()}” is not a release of MLflow.")
        routes, facts = installed_mlflow.routes(), installed_mlflow.facts(readable())
        unserved = installed_mlflow.unserved_routes()
        if options["write"]:
            known = table_comparison.merge_facts(json.loads(FIELDS.read_text()), facts)
            FIELDS.write_text(json.dumps(known, indent=1) + "\n")
            PAGE.write_text(format_page(OPERATIONS))
            self.stdout.write(f"wrote {FIELDS.name}, {len(known['requests'])} requests, and docs/{PAGE.name}")
        new = table_comparison.new_routes(OPERATIONS, routes - unserved, release)
        gone = table_comparison.gone_routes(OPERATIONS, routes, release)
        fields = table_comparison.new_fields(json.loads(FIELDS.read_text()), facts)
        tags = table_comparison.new_tags(installed_mlflow.tags())
        problems = [
            *(f"new: {method} {path}" for method, path in new),
            *(f"gone: {method} {path}" for method, path in gone),
            *(f"field: {problem}" for problem in fields),
            *(f"tag: {key}" for key in tags),
        ]
        for problem in problems:
            self.stdout.write(problem)
        sources = {path: (settings.BASE_DIR / path).read_text(encoding="utf-8") for path in TABLE}
        if new or gone:
            self.stdout.write(table_comparison.format_patch(sources, new, gone, release))
        if problems:
            raise CommandError(
                f"MLflow {release.text} differs from the table in {len(problems)} points. A route that is not in the "
                "table is refused; decide for each whether to serve it. The patch refuses all of them. --write adds "
                "the fields."
            )
        rows = sum(table_comparison.row_exists(row, release) is True for row in OPERATIONS)
        self.stdout.write(escape(f"MLflow {release.text}: all {rows} rows agree."))


def readable() -> set[str]:
    """The routes whose requests the portal reads."""
    return {f"{operation.method} {operation.path}" for operation in OPERATIONS if operation.names_objects}
