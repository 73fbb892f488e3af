"""What goes to which organisation when an existing registry moves: experiments, models and datasets, by who created
them, and what cannot be split between organisations."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from keys.models import Namespace, Organisation
from portal.management.experiment_files import Files
from portal.management.experiment_objects import (
    MLFLOWS_OWN,
    Experiment,
    dataset_tags,
    read_datasets,
    read_experiments,
    read_runs,
    search_experiments,
    users_of,
)
from proxy.upstream import server_routes
from proxy.upstream.registry import Registry, server_url
from proxy.upstream.workspaces import ServerRoute, Workspace


@dataclass(kw_only=True)
class Plan:
    """What goes to which organisation, by slug. `split`: a sentence for each object of users of several organisations,
    which cannot be split between them, and for what stays. `conflicts`: a sentence for each name that the organisation
    has already."""

    experiments: dict[str, list[Experiment]] = field(default_factory=lambda: defaultdict(list))
    models: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    datasets: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # names, not unique
    split: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)

    @property
    def slugs(self) -> list[str]:
        return sorted({*self.experiments, *self.models, *self.datasets})


@dataclass(frozen=True, kw_only=True)
class Move:
    """Where things are moved from, and how. `database_url`: MLflow's, as its own command takes it; `files`: the
    artifacts that MLflow serves. `table`: slug by user id; other users' objects go to `fallback`."""

    environment: str
    source: str
    database_url: str
    files: Files
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
    plan = Plan()
    homes = plan_experiments(move, plan)
    plan_models(move, plan, homes)
    plan_datasets(move, plan)
    if count := sum(1 for _ in read_runs(move.registry, MLFLOWS_OWN)):
        text = f"MLflow's own experiment {MLFLOWS_OWN} has {count} runs, which stay in {move.source}: nobody reads them"
        plan.split.append(f"{text} through the portal.")
    find_conflicts(move, plan)
    find_shared_folders(plan)
    return plan


def plan_experiments(move: Move, plan: Plan) -> dict[str, str]:
    """Returns the slug by run id."""
    homes = dict[str, str]()
    for experiment in read_experiments(move.registry):
        slug, is_split = move.slug_of(experiment.users)
        plan.experiments[slug].append(experiment)
        homes |= dict.fromkeys(experiment.runs, slug)
        if is_split:
            text = f"Experiment {experiment.id} “{experiment.name}” has runs of several organisations, and goes to"
            plan.split.append(f"{text} {slug}.")
    return homes


def plan_models(move: Move, plan: Plan, homes: Mapping[str, str]) -> None:
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


def plan_datasets(move: Move, plan: Plan) -> None:
    """A dataset goes to the organisation of who created it; if that is unknown, to that of its experiments."""
    places = {each.id: slug for slug, experiments in plan.experiments.items() for each in experiments}
    slugs = defaultdict[str, set[str]](set)
    for dataset in read_datasets(move.registry):
        name, used_in = str(dataset["name"]), {places.get(each) for each in dataset.get("experiment_ids", [])}
        users = users_of(
            {"tags": dataset_tags(dataset)}, "dataset", str(dataset["dataset_id"]), move.environment
        )
        known = used_in - {None}
        slug = (known.pop() if len(known) == 1 else None) if not users else move.slug_of(users)[0]
        slug = slug or move.fallback
        slugs[name].add(slug)
        if used_in - {None, slug}:
            plan.split.append(
                f"Dataset “{name}” belongs to experiments of other organisations, and goes to {slug}."
            )
    for name, wanted in slugs.items():  # MLflow's command tells datasets apart by their names only
        slug = min(wanted) if len(wanted) == 1 else move.fallback
        plan.datasets[slug].append(name)
        if len(wanted) > 1:
            plan.split.append(
                f"Datasets of several organisations have the name “{name}”, and all of them go to {slug}."
            )


def find_conflicts(move: Move, plan: Plan) -> None:
    """Names that the organisation's workspace has already."""
    for slug in plan.slugs:
        found = server_routes.ask_server(server_url(move.environment), ServerRoute.WORKSPACES, name=slug)
        found.data  # noqa: B018  read to its end, so that the connection is used again
        if found.status == 404:  # the workspace is created with the first call to it
            continue
        registry = registry_in(move, Organisation.objects.get(slug=slug))
        experiments = {str(each["name"]) for each in search_experiments(registry)}
        models = {str(each["name"]) for each in registry.models()}
        taken = {
            "an experiment": sorted({each.name for each in plan.experiments.get(slug, [])} & experiments),
            "a model": sorted({*plan.models.get(slug, [])} & models),
        }
        plan.conflicts += [
            f"{slug} has {kind} “{name}” already. Rename one of the two."
            for kind, names in taken.items()
            for name in names
        ]


def find_shared_folders(plan: Plan) -> None:
    """Experiments of several organisations whose files are in one folder, or in a folder below another's."""
    homes = [(each, slug) for slug, experiments in plan.experiments.items() for each in experiments]
    above: list[
        tuple[Experiment, str]
    ] = []  # the experiments in whose folders the present one is, outermost first
    for experiment, slug in sorted(homes, key=lambda home: f"{home[0].folder}/"):
        while above and not f"{experiment.folder}/".startswith(f"{above[-1][0].folder}/"):
            above.pop()
        if above and above[-1][1] != slug:
            other, its_slug = above[-1]
            plan.conflicts.append(
                f"Experiments {other.id} of {its_slug} and {experiment.id} of {slug} store files in one folder, "
                f"{other.folder}, which cannot be split. Put their users into one organisation."
            )
        above.append((experiment, slug))


def registry_in(move: Move, organisation: Organisation) -> Registry:
    return Registry(
        server_url(move.environment),
        namespace=Namespace.of(move.environment, organisation),
        workspace=Workspace.of(organisation),
    )
