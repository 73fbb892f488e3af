"""One operation of each scope, under each preset, against a real MLflow."""

import secrets

import pytest

from keys.rights.scopes import Preset, Scope
from tests.experiments import created_by

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]
V2, V3 = "/api/mlflow/api/2.0/mlflow", "/api/mlflow/api/3.0/mlflow"


@pytest.fixture(scope="module")
def keys(mlflow_portal):
    """A key of each preset, all of one user's."""
    return {preset: mlflow_portal.issue("gina", "--preset", preset.value)["key"] for preset in Preset}


@pytest.fixture
def made(mlflow_portal, keys):
    """A run with an artifact, a model and a trace of that user's."""
    name, trace = f"model-{secrets.token_hex(4)}", f"tr-{secrets.token_hex(16)}"

    def call(method, path, body=None):
        reply = mlflow_portal.request(method, path, key=keys[Preset.FULL], body=body)
        assert reply.status == 200, reply.body
        return reply

    experiment = created_by(call, V2)
    run = call("POST", f"{V2}/runs/create", {"experiment_id": experiment}).json()["run"]["info"]["run_id"]
    artifact = f"/api/mlflow/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/x.txt"
    call("PUT", artifact, b"x")
    call("POST", f"{V2}/registered-models/create", {"name": name})
    location = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}
    info = {
        "trace_id": trace,
        "trace_location": location,
        "request_time": "2026-01-01T00:00:00Z",
        "state": "OK",
    }
    call("POST", f"{V3}/traces", {"trace": {"trace_info": info}})
    return {
        Scope.TRACKING_READ: ("GET", f"{V2}/runs/get?run_id={run}", None),
        Scope.TRACKING_WRITE: ("POST", f"{V2}/runs/set-tag", {"run_id": run, "key": "k", "value": "v"}),
        Scope.TRACKING_DELETE: ("POST", f"{V2}/runs/delete", {"run_id": run}),
        Scope.REGISTRY_READ: ("GET", f"{V2}/registered-models/get?name={name}", None),
        Scope.REGISTRY_WRITE: ("PATCH", f"{V2}/registered-models/update", {"name": name, "description": "d"}),
        Scope.REGISTRY_DELETE: ("DELETE", f"{V2}/registered-models/delete", {"name": name}),
        Scope.ARTIFACTS_READ: ("GET", artifact, None),
        Scope.ARTIFACTS_WRITE: ("PUT", artifact, b"y"),
        Scope.ARTIFACTS_DELETE: ("DELETE", artifact, None),
        Scope.TRACES_READ: ("GET", f"{V3}/traces/{trace}", None),
        Scope.TRACES_WRITE: ("PATCH", f"{V3}/traces/{trace}/tags", {"key": "k", "value": "v"}),
        Scope.TRACES_DELETE: (
            "POST",
            f"{V3}/traces/delete-traces",
            {"experiment_id": experiment, "request_ids": [trace]},
        ),
    }


@pytest.mark.parametrize("preset", Preset)
def test_one_operation_of_each_scope(mlflow_portal, keys, made, preset):
    assert set(made) == {
        scope for scope in Scope if not scope.startswith("portal:")
    }  # those are not MLflow's
    for scope, (method, path, body) in made.items():
        reply = mlflow_portal.request(method, path, key=keys[preset], body=body)

        if scope in preset.scopes:
            assert reply.status == 200, (scope, reply.body)
        else:
            assert reply.status == 403, (scope, reply.body)
            assert f"needs the scope {scope.value}" in reply.json()["message"]
