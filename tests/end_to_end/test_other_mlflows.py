"""An MLflow under `--static-prefix`, and one that is reached through its browser mount alone."""

import sys

import pytest
from mlflow import MlflowClient

from portal.one_machine.mlflow import MLFLOW_ENVIRONMENT, is_mlflow
from portal.one_machine.ports import free_port
from portal.one_machine.supervisor import minimal_environment, start
from tests.environment import WATCHDOG
from tests.experiments import new_experiment
from tests.portals import portal, wait_for

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]


@pytest.fixture(scope="module")
def prefixed(tmp_path_factory):
    """The address of an MLflow that runs under /under."""
    folder, port = tmp_path_factory.mktemp("prefixed"), free_port()
    child = start(
        "MLflow",
        [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"),
            *("--serve-artifacts", "--artifacts-destination", str(folder / "a"), "--static-prefix", "/under"),
        ],
        log=folder / "mlflow.log",
        watchdog=WATCHDOG,
        environment=minimal_environment() | MLFLOW_ENVIRONMENT,
        directory=str(folder),
    )
    url = f"http://127.0.0.1:{port}"
    try:
        assert wait_for(lambda: is_mlflow(f"{url}/under", seconds=1), seconds=60), (
            folder / "mlflow.log"
        ).read_text()
        yield url
    finally:
        child.stop()


@pytest.mark.parametrize("api", ["api", "ajax-api"])
def test_the_portal_translates_artifacts_included(prefixed, api, monkeypatch, tmp_path):
    with portal(mlflow_url=prefixed, MLFLOW_STATIC_PREFIX="/under", MLFLOW_API=api) as running:
        key = running.issue("alice", "--preset", "full")["key"]
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", key)
        client = MlflowClient(f"{running.url}/api/mlflow", f"{running.url}/api/mlflow")
        experiment = new_experiment(client)
        run = client.create_run(experiment).info.run_id
        client.log_metric(run, "loss", 0.5)
        client.log_text(run, "hello", "notes.txt")
        chunks = f"/api/mlflow/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/chunked.txt"
        chunked = running.request(
            "PUT", chunks, key=key, headers=[("Transfer-Encoding", "chunked")], body=b"3\r\nabc\r\n0\r\n\r\n"
        )
        location = f"mlflow-artifacts:/folder-{api}/x"
        elsewhere = client.create_experiment(f"folder-{api}", artifact_location=location)
        in_folder = client.create_run(elsewhere).info.run_id
        client.log_text(in_folder, "alice's", "notes.txt")
        assert client.list_artifacts(in_folder)[0].path == "notes.txt"
        client.create_registered_model(f"model-{api}")
        client.delete_registered_model(f"model-{api}")

        assert chunked.status == 200
        assert running.request("GET", chunks, key=key).body == b"abc"
        assert sorted(file.path for file in client.list_artifacts(run)) == ["chunked.txt", "notes.txt"]
        assert running.request("DELETE", chunks, key=key).status == 200
        assert [file.path for file in client.list_artifacts(run)] == ["notes.txt"]
        assert running.request("GET", "/api/mlflow/version", key=key).status == 200
        assert running.request("GET", "/health/mlflow").status == 200
