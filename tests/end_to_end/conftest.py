"""Alice, bob and carol with their keys on a real MLflow, and alice's work there."""

import json
import secrets
from dataclasses import dataclass

import mlflow
import pytest
from mlflow import MlflowClient

from tests.end_to_end.sides import BySession, Side, make_side, start_trace
from tests.portals import Portal


@dataclass
class Person:
    """A user with a key, and the stock client set to it."""

    portal: Portal
    issued: dict
    monkeypatch: pytest.MonkeyPatch

    @property
    def client(self) -> MlflowClient:
        self.monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", self.issued["key"])
        mlflow.set_tracking_uri(f"{self.portal.url}/api/mlflow")
        return MlflowClient()

    def call(self, method: str, path: str, body: object = None):
        if isinstance(body, dict | list):
            body = json.dumps(body).encode()
        headers = [("Content-Type", "application/json")]
        return self.portal.request(
            method, f"/api/mlflow{path}", key=self.issued["key"], body=body, headers=headers
        )


@pytest.fixture(scope="session")
def keys(mlflow_portal):
    return {
        "alice": mlflow_portal.issue("alice", "--preset", "full"),
        "bob": mlflow_portal.issue("bob", "--preset", "full"),
        "carol": mlflow_portal.issue("carol", "--preset", "full", "--any-owner"),
    }


@pytest.fixture
def alice(mlflow_portal, keys, monkeypatch):
    return Person(mlflow_portal, keys["alice"], monkeypatch)


@pytest.fixture
def bob(mlflow_portal, keys, monkeypatch):
    return Person(mlflow_portal, keys["bob"], monkeypatch)


@pytest.fixture
def carol(mlflow_portal, keys, monkeypatch):
    return Person(mlflow_portal, keys["carol"], monkeypatch)


@dataclass
class Work:
    experiment: str
    run: str
    logged_model: str
    model: str
    trace: str


def make_work(alice: Person, name: str) -> Work:
    """An experiment, run, logged model, registered model with a version, and trace of alice's."""
    client = alice.client
    experiment = client.create_experiment(name)
    run = client.create_run(experiment).info.run_id
    client.log_text(run, "alice's", "notes.txt")
    model = client.create_logged_model(experiment, source_run_id=run).model_id
    client.create_registered_model(name)
    client.create_model_version(name, f"runs:/{run}/model", run_id=run)
    trace = f"tr-{secrets.token_hex(16)}"
    assert alice.call("POST", "/api/3.0/mlflow/traces", start_trace(trace, experiment)).status == 200
    return Work(experiment, run, model, name, trace)


@pytest.fixture(scope="session")
def work(mlflow_portal, keys) -> Work:
    """Alice's work, which every test leaves as it is."""
    with pytest.MonkeyPatch.context() as patch:
        return make_work(Person(mlflow_portal, keys["alice"], patch), "alices-work")


@pytest.fixture
def own_work(alice) -> Work:
    """Alice's work for one test that changes it."""
    return make_work(alice, f"work-{secrets.token_hex(4)}")


@pytest.fixture(scope="session")
def sides(mlflow_portal) -> tuple[Side, Side]:
    """Two organisations with work, whose ids and markers the tests compare."""
    return tuple(make_side(mlflow_portal, name) for name in ("ours", "theirs"))  # type: ignore[return-value]


@pytest.fixture(scope="session")
def sessions(sides) -> tuple[BySession, BySession]:
    return tuple(BySession(**vars(side)) for side in sides)  # type: ignore[return-value]
