"""Moves what an MLflow server has in one workspace, usually `default`, into the workspaces of organisations.

MLflow's own command moves rows, not files (`mlflow db move-resources`). The rows go
after their folders: nobody sees a row whose files are not there yet. A run of the command looks at
the present state first, so that it continues where an earlier one ended, however that ended.
"""

import json
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pgtrigger
from django.db import transaction

from keys.models import ApiKey, Namespace, Organisation, User
from proxy.ledger import comparison, writer
from proxy.models import Owner, Registration
from proxy.policy.attribution import USER_TAG
from proxy.request.messages import Json
from proxy.upstream.registry import API, Registry, RegistryError, server_url, tags
from proxy.upstream.workspaces import Workspace

MLFLOWS_OWN = "0"  # the experiment that MLflow creates in `default`, and that nobody moves
RUNS = 1000  # of one page
BATCH = 100  # names for one call of MLflow's command
MOVES = """
import json, sys
from mlflow.cli import cli
for arguments in json.load(sys.stdin):
    cli.main(arguments, standalone_mode=False)
"""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    id: str
    name: str
    runs: tuple[str, ...]
    users: frozenset[str]  # ids of the users who created it or its runs


@dataclass(kw_only=True)
class Plan:
    """What goes to which organisation, by slug. `split`: a sentence for each experiment or model of users of several
    organisations, which cannot be split between them."""

    experiments: dict[str, list[Experiment]] = field(default_factory=lambda: defaultdict(list))
    models: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    split: list[str] = field(default_factory=list)

    @property
    def slugs(self) -> list[str]:
        return sorted({*self.experiments, *self.models})


@dataclass(frozen=True, kw_only=True)
class Move:
    """Where things are moved from, and how. `database_url`: MLflow's, as its own command takes it; `artifacts`: the
    folder that MLflow serves. `table`: slug by user id; other users' objects go to `fallback`."""

    environment: str
    source: str
    database_url: str
    artifacts: Path
    table: Mapping[str, str]
    fallback: str = "shared"

    @property
    def registry(self) -> Registry:
        """MLflow's registry in the workspace that is emptied, which is no organisation's."""
        url = server_url(self.environment)
        return Registry(url, namespace=Namespace.shared(self.environment), workspace=Workspace(self.source))

    def slug_of(self, users: frozenset[str]) -> tuple[str, bool]:
        """The organisation of what these users made together, and whether they are in several."""
        slugs = {self.table.get(user, self.fallback) for user in users} or {self.fallback}
        return (slugs.pop(), False) if len(slugs) == 1 else (self.fallback, True)


def make_plan(move: Move) -> Plan:
    """Raises RegistryError if MLflow is unreachable."""
    plan, homes = Plan(), dict[str, str]()
    for experiment in read_experiments(move.registry):
        slug, is_split = move.slug_of(experiment.users)
        plan.experiments[slug].append(experiment)
        homes |= dict.fromkeys(experiment.runs, slug)
        if is_split:
            text = f"Experiment {experiment.id} “{experiment.name}” has runs of several organisations, and goes to"
            plan.split.append(f"{text} {slug}.")
    runs = defaultdict[str, set[str]](set)
    for version in move.registry.versions():
        if version.get("run_id"):
            runs[version["name"]].add(str(version["run_id"]))
    for model in move.registry.models():
        name = str(model["name"])
        slug, _ = move.slug_of(users_of(model, "registered_model", name, move.environment))
        plan.models[slug].append(name)
        if {homes.get(run, slug) for run in runs[name]} - {slug}:
            plan.split.append(
                f"Model “{name}” has versions from runs of other organisations, and goes to {slug}."
            )
    return plan


def read_experiments(registry: Registry) -> Iterator[Experiment]:
    for content in registry.pages("experiments/search", "experiments", view_type="ALL"):
        if (experiment_id := str(content["experiment_id"])) == MLFLOWS_OWN:
            continue
        runs = list(read_runs(registry, experiment_id))
        users = users_of(content, "experiment", experiment_id, registry.namespace.environment)
        for run in runs:
            users |= users_of(
                run.get("data", {}), "run", run["info"]["run_id"], registry.namespace.environment
            )
        yield Experiment(
            id=experiment_id,
            name=str(content["name"]),
            runs=tuple(run["info"]["run_id"] for run in runs),
            users=users,
        )


def read_runs(registry: Registry, experiment_id: str) -> Iterator[Json]:
    token = ""
    while True:
        asked: Json = {"experiment_ids": [experiment_id], "max_results": RUNS, "run_view_type": "ALL"}
        status, content = registry.ask("POST", f"{API}/runs/search", body={**asked, "page_token": token})
        if status != 200:
            raise RegistryError(f"MLflow did not list the runs of experiment {experiment_id} ({status}).")
        yield from content.get("runs", [])
        if not (token := content.get("next_page_token") or ""):
            return


def users_of(content: Json, kind: str, name: str, environment: str) -> frozenset[str]:
    """The id of the user to whom the object belongs here, or else who created it according to its tag."""
    owner = Owner.objects.of(Namespace.shared(environment), kind, name).select_related("user").first()
    if owner and owner.user:
        return frozenset({owner.user.public_id})
    creator = tags(content).get(USER_TAG)
    return frozenset({creator}) if creator else frozenset()


def carry_out(move: Move, plan: Plan, *, notify: Callable[[str], None]) -> None:
    """Move everything in the plan. Raises RegistryError, OSError, and CalledProcessError of MLflow's command."""
    moves: list[tuple[str, str, list[str]]] = []
    for slug in plan.slugs:
        organisation = Organisation.objects.get(slug=slug)
        experiments, models = plan.experiments.get(slug, []), plan.models.get(slug, [])
        make_workspace(move, organisation)
        for experiment in experiments:
            move_folder(move, slug, experiment.id)
        moves += [
            (slug, "experiments", [each.name for each in experiments]),
            (slug, "registered_models", models),
        ]
        notify(f"{slug}: {len(experiments)} experiments and {len(models)} models")
    move_rows(move, moves)
    for organisation in Organisation.objects.filter(slug__in={*move.table.values(), move.fallback}):
        record(move, organisation)


def make_workspace(move: Move, organisation: Organisation) -> None:
    """MLflow's workspace is created with the first call to it."""
    registry_in(move, organisation).get(f"{API}/experiments/get-by-name", [("experiment_name", "-")])


def registry_in(move: Move, organisation: Organisation) -> Registry:
    return Registry(
        server_url(move.environment),
        namespace=Namespace.of(move.environment, organisation),
        workspace=Workspace.of(organisation),
    )


def move_folder(move: Move, slug: str, experiment_id: str) -> None:
    """Move an experiment's files. A folder that an interrupted copy left is completed."""
    home = move.artifacts if move.source == "default" else move.artifacts / "workspaces" / move.source
    source, target = home / experiment_id, move.artifacts / "workspaces" / slug / experiment_id
    if not source.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():  # a copy across file systems was interrupted: the source is whole
        shutil.rmtree(target)
    shutil.move(source, target)


def move_rows(move: Move, moves: list[tuple[str, str, list[str]]]) -> None:
    """Move rows (slug, kind, names) with MLflow's own command, all in one process, because its imports take seconds."""
    commands = []
    for slug, kind, names in moves:
        for first in range(0, len(names), BATCH):
            chosen = [part for name in names[first : first + BATCH] for part in ("--name", name)]
            ends = ["--from", move.source, "--to", slug, "--resource-type", kind]
            commands.append(["db", "move-resources", move.database_url, "-y", *ends, *chosen])
    if commands:
        command = [sys.executable, "-c", MOVES]
        subprocess.run(command, input=json.dumps(commands), check=True, capture_output=True, text=True)


def record(move: Move, organisation: Organisation) -> None:
    """Give the organisation the owners' rows and the ledger's rows of what MLflow has in its workspace, and the keys
    and memberships of its users."""
    registry, namespace = registry_in(move, organisation), Namespace.of(move.environment, organisation)
    names = defaultdict[str, list[str]](list)
    for experiment in read_experiments(registry):
        names["experiment"].append(experiment.id)
        names["run"] += experiment.runs
        names["logged_model"] += [
            str(each["info"]["model_id"]) for each in registry.logged_models(experiment.id)
        ]
    names["registered_model"] = [str(model["name"]) for model in registry.models()]
    users = User.objects.filter(
        public_id__in=[user for user, slug in move.table.items() if slug == organisation.slug]
    )
    with transaction.atomic(), pgtrigger.ignore("keys.ApiKey:key_keeps_organisation"):
        former = Owner.objects.within(Namespace.shared(move.environment))
        for kind, ids in names.items():
            for first in range(0, len(ids), RUNS):
                former.filter(kind=kind, name__in=ids[first : first + RUNS]).update(organisation=organisation)
        others = former.filter(user__in=users).exclude(kind__in=(*names, "model_version"))
        others.update(organisation=organisation)
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
