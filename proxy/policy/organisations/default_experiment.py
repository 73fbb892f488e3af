"""Refuses calls that fall back to MLflow's experiment 0, which exists only in MLflow's own workspace `default`. Pure.

Without an experiment, MLflow's client sends the id 0. No organisation has it, so that MLflow's response would not tell
the user what to do.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

from keys.refusals import Refusal
from proxy.request import messages
from proxy.request.messages import Json, values
from proxy.routes.objects import DEFAULT_EXPERIMENT
from proxy.routes.operations import Match

LINE = 'mlflow.set_experiment("my-experiment")'
# Reads of experiments by id, and searches. A search in other experiments as well passes.
READS = frozenset(
    {"experiments.get", "runs.search", "logged-models.search", "traces.search", "traces.search-v2"}
)


def check(match: Match, content: Json, *, query: str, headers: Mapping[str, str], body: bytes | None) -> None:
    """Raise Refusal (404) if the call is to use experiment 0, or creates a run without stating an experiment."""
    operation = match.operation
    if operation.is_read:
        named = list(read_ids(match, query, body or b""))
    else:
        fields = [
            each.field for each in (*operation.parents, *operation.targets) if each.kind == "experiment"
        ]
        named = [name for field in fields for name in named_by(field, content, headers)]
        if operation.name == "traces.delete":
            named += values(content, "experiment_id")
        if operation.name == "runs.create" and not any(named):
            named = [DEFAULT_EXPERIMENT]
    if named and all(str(name) == DEFAULT_EXPERIMENT for name in named):
        raise no_experiment()


def named_by(field: str, content: Json, headers: Mapping[str, str]) -> list[Any]:
    if field.startswith("@"):
        return [headers[field[1:]]] if headers.get(field[1:]) else []
    return [] if field.startswith("{") else list(values(content, field))


def read_ids(match: Match, query: str, body: bytes) -> Iterator[Any]:
    """The experiments that a read names in its query, or in its JSON."""
    if match.operation.name not in READS:
        return
    if match.operation.method == "GET" and query:
        yield from (value for name, value in parse_qsl(query) if name in ("experiment_id", "experiment_ids"))
    elif b'"0"' in body:
        yield from ids_in(messages.decode(body))


def ids_in(content: Json) -> Iterator[Any]:
    """The experiments in the JSON of a read, whose values are not checked against their types."""
    yield from (content[name] for name in ("experiment_id", "experimentId") if name in content)
    for name in ("experiment_ids", "experimentIds", "locations"):
        listed = content.get(name)
        for each in listed if isinstance(listed, list) else []:
            if name != "locations":
                yield each
            elif isinstance(each, dict):
                within = each.get("mlflow_experiment", each.get("mlflowExperiment"))
                yield from ids_in(within) if isinstance(within, dict) else [each]


def no_experiment() -> Refusal:
    return Refusal(
        status=404,
        error_code="RESOURCE_DOES_NOT_EXIST",
        reason="no_experiment",
        message=f"No experiment is set, so the call falls back to MLflow's experiment 0, which no organisation has. "
        f"Set one first: {LINE} in Python, or the environment variable MLFLOW_EXPERIMENT_NAME.",
    )
