"""Calls that fall back to MLflow's experiment 0 are told the line that sets an experiment."""

import json
from urllib.parse import urlencode

import pytest

from keys.refusals import Refusal
from proxy.policy.organisations import default_experiment
from proxy.request import messages
from proxy.routes.matching import match_operation
from proxy.routes.table import OPERATIONS

V2, V3 = "/api/2.0/mlflow", "/api/3.0/mlflow"
LOCATION = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}


def check(method: str, path: str, content: dict | None = None, query: str = "", **headers: str) -> None:
    match = match_operation(method, path)
    body = json.dumps(content).encode() if content is not None else b""
    read = messages.read(match.operation, body) if match.operation.names_objects and content else {}
    default_experiment.check(match, read, query=query, headers=headers, body=body)


@pytest.mark.parametrize(
    "call",
    [
        ("POST", f"{V2}/runs/create", {"experiment_id": "0"}),
        ("POST", f"{V2}/runs/create", {"experimentId": "0"}),
        ("POST", f"{V2}/runs/create", {"experiment_id": ""}),
        ("POST", f"{V2}/runs/create", {}),
        ("POST", f"{V2}/logged-models", {"experiment_id": "0"}),
        ("POST", f"{V2}/experiments/set-experiment-tag", {"experiment_id": "0", "key": "a", "value": "b"}),
        ("POST", f"{V3}/traces", {"trace": {"trace_info": {"trace_location": LOCATION}}}),
        ("POST", f"{V2}/traces", {"experiment_id": "0"}),
        ("POST", f"{V3}/traces/delete-traces", {"experiment_id": "0", "max_timestamp_millis": 1}),
        ("GET", f"{V2}/experiments/get", None, urlencode({"experiment_id": "0"})),
        ("GET", f"{V2}/experiments/get", {"experiment_id": "0"}),
        ("POST", f"{V2}/runs/search", {"experiment_ids": ["0"]}),
        ("POST", f"{V2}/runs/search", {"experimentIds": ["0"]}),
        ("POST", f"{V2}/logged-models/search", {"experiment_ids": ["0"]}),
        ("POST", f"{V3}/traces/search", {"locations": [LOCATION]}),
        ("GET", f"{V2}/traces", None, urlencode({"experiment_ids": "0"})),
    ],
)
def test_a_call_without_an_experiment_is_told_the_line(call):
    with pytest.raises(Refusal) as refused:
        check(*call)

    assert (refused.value.status, refused.value.error_code) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert 'mlflow.set_experiment("my-experiment")' in refused.value.message


def test_an_export_of_traces_to_it_is_told_too():
    with pytest.raises(Refusal):
        check("POST", "/v1/traces", **{"x-mlflow-experiment-id": "0"})
    check("POST", "/v1/traces", **{"x-mlflow-experiment-id": "10"})


@pytest.mark.parametrize(
    "content",
    [
        {"experiment_ids": ["0", "7"]},
        {"experiment_ids": []},
        {"experiment_ids": 7, "locations": "0"},
        {"locations": [{"mlflow_experiment": "0"}]},
    ],
)
def test_other_searches_pass(content):
    check("POST", f"{V2}/runs/search", content)
    check("POST", f"{V2}/runs/create", {"experiment_id": "10"})


def test_every_operation_in_an_experiment_is_told():
    """Every row of the table that creates in an experiment; a new row needs no case here."""
    rows = [
        each
        for each in OPERATIONS
        for field in each.parents
        if field.kind == "experiment" and not each.refused
    ]
    assert len(rows) >= 8
    for operation in rows:
        [field] = [each.field for each in operation.parents if each.kind == "experiment"]
        content: object = "0"
        for part in reversed(field.split(".")):
            content = {part.rstrip("[]"): [content] if part.endswith("[]") else content}
        headers = {field[1:]: "0"} if field.startswith("@") else {}
        match = match_operation(operation.method, operation.path.replace("{dataset_id}", "d-1"))
        with pytest.raises(Refusal, match="set_experiment"):
            default_experiment.check(match, content, query="", headers=headers, body=b"")
