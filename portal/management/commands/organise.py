"""Move an existing registry into organisations."""

import csv
import json
import subprocess
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.formatting.invisible import escape
from keys.management.one_user import user_of
from keys.models import ApiKey, Organisation
from portal.management import organising
from portal.management.organising import Move, Plan
from portal.one_machine import instance
from proxy.upstream.registry import RegistryError


class Command(BaseCommand):
    help = (
        "Move what MLflow has in its workspace `default` into the workspaces of organisations: rows, files, owners, "
        "keys and registrations. Run it where MLflow's files are, while nobody uses the registry, and after a backup. "
        "If it is interrupted, run it again: it continues."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--table",
            type=Path,
            metavar="FILE",
            help="CSV with the columns user and organisation; other users' objects go to `shared`",
        )
        parser.add_argument("--from", dest="source", default="default", metavar="WORKSPACE")
        parser.add_argument("--environment", choices=ApiKey.Environment.values, default="live")
        parser.add_argument(
            "--backend-store-uri", metavar="URL", help="MLflow's database (default: that of `make run`)"
        )
        parser.add_argument(
            "--artifacts", type=Path, metavar="FOLDER", help="MLflow's files (default: those of `make run`)"
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="print what would move, and change nothing"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        move = Move(
            environment=options["environment"],
            source=options["source"],
            database_url=options["backend_store_uri"] or running_database(),
            artifacts=options["artifacts"] or settings.DATA_DIR / "artifacts",
            table=read_table(options["table"]) if options["table"] else {},
        )
        if not move.artifacts.is_dir():
            raise CommandError(f"--artifacts: there is no folder {move.artifacts}")
        notify = (lambda text: None) if options["json"] else lambda text: self.stdout.write(escape(text))
        try:
            plan = organising.make_plan(move)
            if not options["dry_run"]:
                organising.carry_out(move, plan, notify=notify)
        except RegistryError as error:
            raise CommandError(f"{escape(str(error))} Run this again: it continues.") from None
        except subprocess.CalledProcessError as error:
            lines = (error.stderr or error.stdout or "").strip().splitlines()
            raise CommandError(
                f"MLflow's move-resources failed: {escape(lines[-1] if lines else '')} Run this again: it continues."
            ) from None
        self.report(plan, options)

    def report(self, plan: Plan, options: dict[str, Any]) -> None:
        counts = {
            slug: {
                "experiments": len(plan.experiments.get(slug, [])),
                "models": len(plan.models.get(slug, [])),
            }
            for slug in plan.slugs
        }
        if options["json"]:
            self.stdout.write(json.dumps({"organisations": counts, "split": plan.split}))
            return
        if options["dry_run"]:
            for slug, count in counts.items():
                self.stdout.write(f"{slug}: {count['experiments']} experiments and {count['models']} models")
        for each in plan.split:
            self.stdout.write(escape(each))
        if not counts:
            self.stdout.write("There is nothing to move.")


def running_database() -> str:
    url = instance.read(settings.DATA_DIR / "portal.json").get("mlflow_database_url", "")
    if not url:
        raise CommandError("--backend-store-uri: state MLflow's database, as MLflow takes it")
    return str(url)


def read_table(path: Path) -> dict[str, str]:
    """Slug by user id. Raises CommandError for a file without these columns, and for unknown users or organisations."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise CommandError(f"--table: {error.strerror}: {path}") from None
    if not rows or not {"user", "organisation"} <= rows[0].keys():
        raise CommandError("--table: the file needs the columns user and organisation")
    known = set(Organisation.objects.open().values_list("slug", flat=True))
    if unknown := sorted({row["organisation"] for row in rows} - known):
        raise CommandError(f"--table: create the organisations first: {', '.join(unknown)}")
    return {user_of(row["user"]).public_id: row["organisation"] for row in rows}
