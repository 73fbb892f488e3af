"""What MLflow has in one workspace, as `manage.py organise` reads it: experiments, and what belongs to them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from keys.models import Namespace
from proxy.models import Owner
from proxy.policy.attribution import USER_TAG
from proxy.provenance import sources
from proxy.request import artifact_paths
from proxy.request.messages import Json
from proxy.upstream.registry import API, Registry, RegistryError, tags

NEWER_API = "/api/3.0/mlflow"
MLFLOWS_OWN = "0"  # the experiment that MLflow creates in `default`, and that nobody moves
RUNS = 1000  # of one page
TRACES = 500  # of one page
ID_FIELDS = {
    "trace": "trace_id",
    "issue": "issue_id",
    "label_schema": "schema_id",
    "review_queue": "queue_id",
}
# The kinds of objects that MLflow lists in a workspace, or that belong to one which it lists.
LISTED_KINDS = frozenset(
    {
        *("experiment", "run", "logged_model", "registered_model", "model_version", "dataset", "assessment"),
        *ID_FIELDS,
    }
)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    id: str
    name: str
    folder: str  # of its files, below the store's root
    runs: tuple[str, ...]
    users: frozenset[str]  # ids of the users who created it or its runs


def search_experiments(registry: Registry) -> Iterator[Json]:
    """All but MLflow's own, deleted ones too."""
    for content in registry.pages("experiments/search", "experiments", view_type="ALL"):
        if str(content["experiment_id"]) != MLFLOWS_OWN:
            yield content


def folder_of(experiment: Json) -> str:
    """Where the experiment's files are, below its workspace's part of MLflow's store. If they are in another store,
    nothing is there."""
    folder = artifact_paths.in_workspace(sources.folder_of(str(experiment.get("artifact_location", ""))))
    return folder or str(experiment["experiment_id"])


def read_experiments(registry: Registry) -> Iterator[Experiment]:
    for content in search_experiments(registry):
        experiment_id = str(content["experiment_id"])
        runs = list(read_runs(registry, experiment_id))
        users = users_of(content, "experiment", experiment_id, registry.namespace.environment)
        for run in runs:
            users |= users_of(
                run.get("data", {}), "run", run["info"]["run_id"], registry.namespace.environment
            )
        yield Experiment(
            id=experiment_id,
            name=str(content["name"]),
            folder=folder_of(content),
            runs=tuple(run["info"]["run_id"] for run in runs),
            users=users,
        )


def read_runs(registry: Registry, experiment_id: str) -> Iterator[Json]:
    asked: Json = {"experiment_ids": [experiment_id], "max_results": RUNS, "run_view_type": "ALL"}
    what = f"runs of experiment {experiment_id}"
    return read_pages(registry, "POST", f"{API}/runs/search", "runs", asked, what=what)


def read_datasets(registry: Registry) -> Iterator[Json]:
    return read_pages(registry, "POST", f"{NEWER_API}/datasets/search", "datasets", {"max_results": RUNS})


def read_objects(registry: Registry, experiment_id: str) -> Iterator[tuple[str, str]]:
    """The kind and id of each object that belongs to the experiment, besides its runs and models."""
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment_id}}
    asked: Json = {"experiment_id": experiment_id}
    for kind, method, path, body in (
        ("trace", "POST", "traces/search", {"locations": [place], "max_results": TRACES}),
        ("issue", "POST", "issues/search", asked),
        ("label_schema", "GET", "label-schemas/list", asked),
        ("review_queue", "GET", "review-queues/list", asked),
    ):
        address = f"{NEWER_API}/{path}"
        for each in read_pages(registry, method, address, f"{kind}s", body, may_be_missing=True):
            yield kind, str(each[ID_FIELDS[kind]])
            for assessment in each.get("assessments", []):
                yield "assessment", str(assessment["assessment_id"])


def read_pages(
    registry: Registry,
    method: str,
    path: str,
    field: str,
    asked: Json,
    *,
    what: str = "",
    may_be_missing: bool = False,
) -> Iterator[Json]:
    """Each object of a list of MLflow's, page by page; none if the list `may_be_missing`, because older servers do not
    have it, and is. Raises RegistryError."""
    token = ""
    while True:
        fields = {**asked, **({"page_token": token} if token else {})}
        if method == "GET":
            status, content = registry.ask(method, path, list(fields.items()))
        else:
            status, content = registry.ask(method, path, body=fields)
        if status == 404 and may_be_missing:
            return
        if status != 200:
            raise RegistryError(f"MLflow did not list the {what or field} ({status}).")
        yield from content.get(field, [])
        if not (token := content.get("next_page_token") or ""):
            return


def dataset_tags(dataset: Json) -> list[Json]:
    """The tags as other objects have them; a dataset has them as JSON in a text."""
    try:
        found = json.loads(dataset.get("tags") or "{}")
    except ValueError:
        return []
    return [{"key": key, "value": value} for key, value in found.items()] if isinstance(found, dict) else []


def users_of(content: Json, kind: str, name: str, environment: str) -> frozenset[str]:
    """The id of the user to whom the object belongs here, or else who created it according to its tag."""
    owner = Owner.objects.of(Namespace.shared(environment), kind, name).select_related("user").first()
    if owner and owner.user:
        return frozenset({owner.user.public_id})
    creator = tags(content).get(USER_TAG)
    return frozenset({creator}) if creator else frozenset()
