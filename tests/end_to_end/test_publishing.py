"""A model that an organisation publishes: another one loads it with the stock client, and reads nothing else there."""

import json
import secrets
import time
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tests.end_to_end.sides import STORE, V2, Side, new_side

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]


@pytest.fixture(scope="module")
def guest(mlflow_portal) -> Side:
    return new_side(mlflow_portal, "guest")


@pytest.fixture(scope="module")
def publisher(mlflow_portal) -> Side:
    """With a model of three versions: of a run's artifacts, of a logged model, and of the run by its id."""
    side = new_side(mlflow_portal, "publisher")
    ids = side.work.ids
    ids["name"] = f"model-{secrets.token_hex(6)}"
    experiment = side.make(f"{V2}/experiments/create", {"name": "training"}, "experiment_id")
    run = side.make(f"{V2}/runs/create", {"experiment_id": experiment}, "run", "info", "run_id")
    logged = {"experiment_id": experiment, "source_run_id": run, "name": "m"}
    model = side.make(f"{V2}/logged-models", logged, "model", "info", "model_id")
    ids |= {"experiment_id": experiment, "run_id": run, "model_id": model}
    for path in ("m/weights.txt", "x.txt"):
        target = f"{STORE}/{experiment}/{run}/artifacts/{path}"
        assert side.call("PUT", target, f"in {path}".encode()).status == 200
    target = f"{STORE}/{experiment}/models/{model}/artifacts/weights.txt"
    assert side.call("PUT", target, b"logged").status == 200
    side.make(f"{V2}/registered-models/create", {"name": ids["name"]})
    address = f"mlflow-artifacts:/workspaces/{side.slug}/{experiment}/{run}/artifacts/m"
    for origin in (
        {"source": address, "run_id": run},
        {"source": f"models:/{model}", "run_id": run, "model_id": model},
        {"source": f"runs:/{run}/m", "run_id": run},
    ):
        version = {"name": ids["name"], **origin}
        side.make(f"{V2}/model-versions/create", version)
    side.make(f"{V2}/registered-models/alias", {"name": ids["name"], "alias": "champion", "version": "1"})
    return side


def publish(side: Side, *options: str, name: str = "") -> dict:
    name = name or side.work.ids["name"]
    told = side.portal.manage("publish_model", name, "--organisation", side.slug, "--json", *options)
    return json.loads(told.stdout)


def load(guest: Side, publisher: Side, folder: Path, monkeypatch, version: str) -> str:
    """The file of a version, loaded with the publisher's registry and the guest's own tracking URI."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", guest.key)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri(f"{guest.portal.url}/api/mlflow")
    mlflow.set_registry_uri(f"{guest.portal.url}/api/mlflow/w/{publisher.slug}")
    try:
        name = publisher.work.ids["name"]
        found = mlflow.artifacts.download_artifacts(f"models:/{name}{version}", dst_path=str(folder))
        return (Path(found) / "weights.txt").read_text()
    finally:
        mlflow.set_registry_uri("")


def test_a_published_version_is_loaded_and_refused_once_it_is_withdrawn(
    publisher, guest, monkeypatch, tmp_path
):
    ids = publisher.work.ids
    name, experiment, run = (ids[field] for field in ("name", "experiment_id", "run_id"))
    artifacts = f"{STORE}/workspaces/{publisher.slug}/{experiment}/{run}/artifacts"

    def read(path: str, mount: str = f"/w/{publisher.slug}") -> int:
        return guest.portal.request("GET", f"/api/mlflow{mount}{path}", key=guest.key).status

    with pytest.raises(MlflowException, match="acts in the organisation"):
        load(guest, publisher, tmp_path, monkeypatch, "/1")
    published = publish(publisher, "--to", guest.slug, "--model-version", "1")
    assert published["visible"]["versions"][0]["run_id"] == run

    assert load(guest, publisher, tmp_path / "1", monkeypatch, "/1") == "in m/weights.txt"
    assert load(guest, publisher, tmp_path / "2", monkeypatch, "@champion") == "in m/weights.txt"
    for path in (
        f"{V2}/model-versions/get?name={name}&version=1",
        f"{V2}/registered-models/search",
        f"{V2}/model-versions/search?filter=name%3D'{name}'",
        f"{V2}/registered-models/get?name={name}",
    ):
        reply = guest.portal.request("GET", f"/api/mlflow/w/{publisher.slug}{path}", key=guest.key)
        assert reply.status == 200, path
        assert b'"version": "1"' in reply.body, path
        assert b'"version": "2"' not in reply.body, path
    for path, status in (
        (f"{V2}/model-versions/get?name={name}&version=2", 404),
        (f"{V2}/registered-models/get?name=other", 404),
        (f"{V2}/runs/get?run_id={run}", 403),
        (f"{V2}/experiments/search?max_results=5", 403),
        (f"{V2}/logged-models/{ids['model_id']}", 403),
        (f"{artifacts}/x.txt", 403),
        (f"{STORE}?path={experiment}/{run}/artifacts", 403),
        (f"{STORE}/{experiment}/models/{ids['model_id']}/artifacts/weights.txt", 403),
    ):
        assert read(path) == status, path
    for path in (f"{artifacts}/x.txt", f"{STORE}/workspaces/{publisher.slug}/{experiment}/models/x"):
        assert read(path, mount="") == 403, path
    body = json.dumps({"name": name, "description": "mine"}).encode()
    target = f"/api/mlflow/w/{publisher.slug}{V2}/registered-models/update"
    headers = [("Content-Type", "application/json")]
    assert guest.portal.request("PATCH", target, key=guest.key, body=body, headers=headers).status == 403

    assert read(f"{artifacts}/m/weights.txt", mount="") == 200
    publish(publisher, "--to", guest.slug, "--model-version", "1", "--withdraw")
    end = time.monotonic() + 1
    while read(f"{artifacts}/m/weights.txt", mount="") == 200:
        assert time.monotonic() < end
    assert read(f"{V2}/model-versions/get?name={name}&version=1") == 403
    with pytest.raises(MlflowException, match="acts in the organisation"):
        load(guest, publisher, tmp_path, monkeypatch, "/1")
    listed = publisher.portal.manage("publish_model", "--organisation", publisher.slug).stdout
    assert "withdrawn" in listed
    assert f"read by {guest.slug} (2 loads)" in listed
    rows = publisher.portal.sql("select operation from proxy_registration where object_name = %s", name)
    assert {("model-versions.publish",), ("model-versions.withdraw",)} <= {*rows}


def test_a_whole_model_is_published_and_a_new_one_of_its_name_is_not(publisher, guest, monkeypatch, tmp_path):
    name = publisher.work.ids["name"]
    publish(publisher, "--to-all")

    assert load(guest, publisher, tmp_path / "2", monkeypatch, "/2") == "logged"
    assert load(guest, publisher, tmp_path / "3", monkeypatch, "/3") == "in m/weights.txt"
    client = MlflowClient(registry_uri=f"{guest.portal.url}/api/mlflow/w/{publisher.slug}")
    assert [each.name for each in client.search_registered_models()] == [name]
    assert {each.version for each in client.search_model_versions(f"name='{name}'")} == {"1", "2", "3"}

    assert publisher.call("DELETE", f"{V2}/registered-models/delete", {"name": name}).status == 200
    publisher.make(f"{V2}/registered-models/create", {"name": name})

    target = f"/api/mlflow/w/{publisher.slug}{V2}/registered-models/get?name={name}"
    end = time.monotonic() + 1
    while guest.portal.request("GET", target, key=guest.key).status != 403:
        assert time.monotonic() < end


def test_nobody_publishes_what_the_organisation_does_not_have(publisher):
    told = publisher.portal.manage(
        "publish_model", "nothing", "--organisation", publisher.slug, "--to-all", check=False
    )

    assert told.returncode == 1
    assert "there is no registered model" in told.stderr
