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
from keys.refusals import Refusal
from portal.management import organise_plan, organising
from portal.management.experiment_files import Files, FilesError, open_files
from portal.management.organise_plan import Move, Plan
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
            "--artifacts",
            metavar="FOLDER",
            help="MLflow's files (default: those of `make run`), or s3://BUCKET/PREFIX, with boto3 beside the portal",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="print what would move, and change nothing"
        )
        parser.add_argument(
            "--no-verify", action="store_true", help="do not read every file through MLflow afterwards"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        move = Move(
            environment=options["environment"],
            source=options["source"],
            database_url=options["backend_store_uri"] or running_database(),
            files=files_at(options["artifacts"] or str(settings.DATA_DIR / "artifacts")),
            table=read_table(options["table"]) if options["table"] else {},
        )
        notify = (lambda text: None) if options["json"] else lambda text: self.stdout.write(escape(text))
        try:
            plan = organise_plan.make_plan(move)
            if not options["dry_run"]:
                if plan.conflicts:
                    raise CommandError(escape("\n".join(["Nothing was moved.", *plan.conflicts])))
                organising.carry_out(move, plan, notify=notify)
                if not options["no_verify"]:
                    organising.verify(move, notify=notify)
        except (RegistryError, FilesError, Refusal) as error:
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
                "datasets": len(plan.datasets.get(slug, [])),
            }
            for slug in plan.slugs
        }
        if options["json"]:
            content = {"organisations": counts, "split": plan.split, "conflicts": plan.conflicts}
            self.stdout.write(json.dumps(content))
            return
        if options["dry_run"]:
            for slug in counts:
                self.stdout.write(escape(organising.describe(slug, plan)))
        for each in (*plan.split, *plan.conflicts):
            self.stdout.write(escape(each))
        if not counts:
            self.stdout.write("There is nothing to move.")


def files_at(store: str) -> Files:
    try:
        return open_files(store)
    except FilesError as error:
        raise CommandError(f"--artifacts: {error}") from None


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
