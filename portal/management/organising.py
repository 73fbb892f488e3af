"""Moves what an MLflow server has in one workspace, usually `default`, into the workspaces of organisations.

MLflow's own command moves rows, not files (`mlflow db move-resources`). The rows go after their folders: nobody sees a
row whose files are not there yet. A run of the command looks at the present state first, so that it continues where an
earlier one ended, however that ended.
"""

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pgtrigger
from django.db import transaction

from keys.models import ApiKey, Namespace, Organisation, User
from portal.management.experiment_files import FilesError
from portal.management.experiment_objects import (
    LISTED_KINDS,
    RUNS,
    folder_of,
    read_datasets,
    read_experiments,
    read_objects,
    search_experiments,
)
from portal.management.organise_plan import Move, Plan, registry_in
from proxy.ledger import comparison, writer
from proxy.models import ArtifactEvent, Owner, Registration
from proxy.provenance.reading import read_file
from proxy.upstream.registry import API, Registry

BATCH = 100  # names for one call of MLflow's command
# Ends with the command that started it, so that a second run of that command never meets this one.
MOVES = """
import json, os, sys, threading
from mlflow.cli import cli
commands = json.loads(sys.stdin.buffer.raw.readline())
threading.Thread(target=lambda: os.read(0, 1) or os._exit(1), daemon=True).start()
for arguments in commands:
    cli.main(arguments, standalone_mode=False)
"""


def carry_out(move: Move, plan: Plan, *, notify: Callable[[str], None]) -> None:
    """Move everything in the plan. Raises RegistryError, FilesError, OSError, and CalledProcessError of MLflow's
    command."""
    moves: list[tuple[str, str, list[str]]] = []
    for slug in plan.slugs:
        experiments, models = plan.experiments.get(slug, []), plan.models.get(slug, [])
        datasets = plan.datasets.get(slug, [])
        make_workspace(move, Organisation.objects.get(slug=slug))
        for experiment in sorted(experiments, key=lambda each: each.folder):  # a folder before those in it
            move.files.place(*folders(move, slug, experiment.folder))
        moves += [
            (slug, "experiments", [each.name for each in experiments]),
            (slug, "registered_models", models),
            (slug, "evaluation_datasets", datasets),
        ]
        notify(describe(slug, plan))
    move_rows(move, moves)
    for organisation in targets(move):
        record(move, organisation)
    for organisation in targets(move):
        for content in search_experiments(registry_in(move, organisation)):
            move.files.remove(*folders(move, organisation.slug, folder_of(content)))


def describe(slug: str, plan: Plan) -> str:
    """The counts of what goes to an organisation."""
    datasets = len(plan.datasets.get(slug, []))
    words = f"{len(plan.experiments.get(slug, []))} experiments and {len(plan.models.get(slug, []))} models"
    return f"{slug}: {words}" + (f", and datasets with {datasets} names" if datasets else "")


def targets(move: Move) -> Any:
    """The organisations into which something may have been moved, by this run or an earlier one."""
    return Organisation.objects.filter(slug__in={*move.table.values(), move.fallback})


def verify(move: Move, *, notify: Callable[[str], None]) -> int:
    """Read every file of the organisations' experiments through MLflow, and compare it with the store. Returns how many
    there are. Raises RegistryError, and FilesError for a file that MLflow does not serve as it is in the store."""
    total = 0
    for organisation in targets(move):
        registry, count = registry_in(move, organisation), 0
        for content in search_experiments(registry):
            home = folder_of(content)
            _, folder = folders(move, organisation.slug, home)
            for path, sha256 in move.files.digests(folder):
                read = read_file(registry, f"{home}/{path}")
                if read is None or read.sha256 != sha256:
                    raise FilesError(f"MLflow does not serve {folder}/{path} as it is in the store.")
                count += 1
        notify(f"{organisation.slug}: {count} files read, as they are in the store")
        total += count
    return total


def make_workspace(move: Move, organisation: Organisation) -> None:
    """MLflow's workspace is created with the first call to it."""
    registry_in(move, organisation).get(f"{API}/experiments/get-by-name", [("experiment_name", "-")])


def folders(move: Move, slug: str, folder: str) -> tuple[str, str]:
    """Where an experiment's folder is before and after the move."""
    home = "" if move.source == "default" else f"workspaces/{move.source}/"
    return f"{home}{folder}", f"workspaces/{slug}/{folder}"


def move_rows(move: Move, moves: list[tuple[str, str, list[str]]]) -> None:
    """Move rows (slug, kind, names) with MLflow's own command, all in one process, because its imports take seconds."""
    commands = []
    for slug, kind, names in moves:
        for first in range(0, len(names), BATCH):
            chosen = [part for name in names[first : first + BATCH] for part in ("--name", name)]
            ends = ["--from", move.source, "--to", slug, "--resource-type", kind]
            commands.append(["db", "move-resources", move.database_url, "-y", *ends, *chosen])
    if not commands:
        return
    command = [sys.executable, "-c", MOVES]
    with tempfile.TemporaryFile() as output:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output) as process:
            assert process.stdin is not None  # noqa: S101  for the type checker
            process.stdin.write(json.dumps(commands).encode() + b"\n")
            process.stdin.flush()
            status = process.wait()
        output.seek(0)
        if status:
            raise subprocess.CalledProcessError(status, command, output.read().decode(errors="replace"))


def record(move: Move, organisation: Organisation) -> None:
    """Give the organisation the owners' rows and the ledger's rows of what MLflow has in its workspace, the digests of
    the files, and the keys and memberships of its users."""
    registry, namespace = registry_in(move, organisation), Namespace.of(move.environment, organisation)
    names = defaultdict[str, list[str]](list)
    experiments = list(read_experiments(registry))
    for experiment in experiments:
        names["experiment"].append(experiment.id)
        names["run"] += experiment.runs
        names["logged_model"] += [
            str(each["info"]["model_id"]) for each in registry.logged_models(experiment.id)
        ]
        for kind, name in read_objects(registry, experiment.id):
            names[kind].append(name)
    names["registered_model"] = [str(model["name"]) for model in registry.models()]
    names["dataset"] = [str(each["dataset_id"]) for each in read_datasets(registry)]
    users = User.objects.filter(
        public_id__in=[user for user, slug in move.table.items() if slug == organisation.slug]
    )
    with transaction.atomic(), pgtrigger.ignore("keys.ApiKey:key_keeps_organisation"):
        former = Owner.objects.within(Namespace.shared(move.environment))
        for kind, ids in names.items():
            for first in range(0, len(ids), RUNS):
                former.filter(kind=kind, name__in=ids[first : first + RUNS]).update(organisation=organisation)
        others = former.filter(user__in=users).exclude(kind__in=LISTED_KINDS)
        others.update(organisation=organisation)
        for experiment in experiments:
            ArtifactEvent.objects.copy_folder(
                move.environment, *folders(move, organisation.slug, experiment.folder)
            )
        for user in users:
            organisation.memberships.get_or_create(user=user)
        ApiKey.objects.filter(owner__in=users, environment=move.environment).update(organisation=organisation)
        if not organisation.is_shared:
            move_ledger(namespace, registry)


def move_ledger(namespace: Namespace, registry: Registry) -> None:
    """The ledger is append-only: rows of the models' present state are added in the organisation, with the users of
    the former rows, and their marks of quarantine."""
    former = Namespace.shared(namespace.environment)
    rows = []
    for item, content in comparison.compare(registry).unrecorded.items():
        row = comparison.make_import(namespace, item, content)
        origin = (
            Registration.objects.within(former)
            .effective()
            .filter(
                operation=row.operation,
                object_name=item.name,
                version=item.version,
                created_ms=item.created_ms,
            )
        )
        first = origin.select_related("user").first()
        row.actor, row.user = "organise", first.user if first else None
        row.detail = {**row.detail, **({"of_request": first.request_id} if first else {})}
        rows.append(row)
    comparison.insert_rows(rows)
    marks = Registration.objects.quarantine_marks(former)
    moved = {row.object_name for row in rows}
    comparison.insert_rows(
        [copy_mark(row, namespace) for row in marks.order_by("id") if row.object_name in moved]
    )


def copy_mark(mark: Registration, namespace: Namespace) -> Registration:
    names = ("at", "user", "actor", "operation", "kind", "object_name", "version", "run_id", "source", "tags")
    copied: dict[str, Any] = {
        name: getattr(mark, name) for name in (*names, "outcome", "completed_at", "created_ms")
    }
    detail = {**mark.detail, "of_request": mark.request_id}
    return Registration(**copied, **namespace.columns, detail=detail, request_id=writer.new_request_id())
