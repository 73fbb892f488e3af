"""The main job: an unmodified MLflow client, real MLflow, real PostgreSQL, each mount."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.direct import DirectClient
from tests.experiments import new_experiment
from tests.portals import Portal

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]
SCRIPT = Path(__file__).with_name("data_scientist.py")


def run_client(portal: Portal, *, mount: str, key: str, name: str, home: Path) -> dict:
    """The script's result, with nothing of MLflow's set but the two variables."""
    result = subprocess.run(
        [sys.executable, str(SCRIPT), name, *(["short"] if mount != "/api/mlflow" else [])],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "MLFLOW_TRACKING_URI": portal.url + mount,
            "MLFLOW_TRACKING_TOKEN": key,
        },
        cwd=home,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert result.returncode == 0, result.stderr[-5000:]
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("mount", ["/api/mlflow", "/mlflow", ""])
def test_a_stock_client_does_its_days_work_through_each_mount(mlflow_portal, mlflow_server, tmp_path, mount):
    key = mlflow_portal.issue("alice", "--preset", "full")
    name = f"day{mount.replace('/', '-')}"

    made = run_client(mlflow_portal, mount=mount, key=key["key"], name=name, home=tmp_path)

    direct = DirectClient(mlflow_server.url)
    stamps = {"hokusai.user_id": key["user_id"], "hokusai.key_id": key["id"]}
    assert made["user_id"] == "alice"
    for tags in (
        direct.get_run(made["run_id"]).data.tags,
        direct.get_experiment(made["experiment_id"]).tags,
        direct.get_registered_model(made["model"]).tags,
        direct.get_model_version(made["model"], "1").tags,
        direct.get_logged_model(made["model_id"]).tags,
    ):
        assert {name: tags.get(name) for name in stamps} == stamps
    assert direct.get_run(made["run_id"]).data.tags["mlflow.user"] == "alice"
    calls = mlflow_portal.rows(
        "select operation, status, reason from proxy_call join keys_apikey on key_id = keys_apikey.id "
        "where public_id = %s",
        key["id"],
    )
    done = {call["operation"] for call in calls if call["status"] == 200}
    assert {"experiments.create", "runs.log-batch", "artifacts.upload", "model-versions.delete"} <= done
    assert [call for call in calls if call["reason"]] == []


def test_a_search_over_all_of_5000_experiments_passes(mlflow_portal, monkeypatch):
    """As `mlflow.search_runs(search_all_experiments=True)` asks: with the id of each in one call."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", mlflow_portal.issue("alice")["key"])
    client = MlflowClient(f"{mlflow_portal.url}/api/mlflow")
    run = client.create_run(new_experiment(client)).info.run_id

    found = client.search_runs([str(number) for number in range(5000)], f"attributes.run_id = '{run}'")

    assert [each.info.run_id for each in found] == [run]
