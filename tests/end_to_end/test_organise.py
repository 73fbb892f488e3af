"""A registry from before organisations moves into them: rows, files, owners, keys and registrations."""

import hashlib
import json
import secrets
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import RestException

from portal.one_machine.mlflow import mlflow_backend, start_mlflow
from tests.end_to_end.sides import start_trace
from tests.environment import WATCHDOG, postgres_url
from tests.portals import Portal, create_database, portal

DATASETS = "/api/mlflow/api/3.0/mlflow/datasets/"
TRACES = "/api/mlflow/api/3.0/mlflow/traces"
pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]


def client_of(running: Portal, key: str, monkeypatch) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", key)
    url = f"{running.url}/api/mlflow"
    return MlflowClient(url, registry_uri=url)


def test_each_user_finds_everything_in_the_organisation_and_nobody_else_does(tmp_path: Path, monkeypatch):
    home, store = tmp_path / "mlflow-home", postgres_url(create_database())
    home.mkdir()
    (tmp_path / "weights.txt").write_text("weights")
    old = start_mlflow(home, database_url=store, watchdog=WATCHDOG, has_workspaces=False)
    old.wait_until_ready()
    port, keys, made = int(old.url.rpartition(":")[2]), {}, {}
    with portal(mlflow_url=old.url, ISOLATION="off") as before:
        for name in ("alice", "bob", "carol"):
            keys[name] = before.issue(name, "--preset", "full")
            client = client_of(before, keys[name]["key"], monkeypatch)
            experiment = client.create_experiment(f"of {name}")
            run = client.create_run(experiment).info
            client.log_artifact(run.run_id, str(tmp_path / "weights.txt"))
            client.create_registered_model(f"model-{name}")
            client.create_model_version(f"model-{name}", run.artifact_uri, run.run_id)
            made[name] = run
        client = client_of(before, keys["alice"]["key"], monkeypatch)
        other = client.create_experiment("another of alice", artifact_location="mlflow-artifacts:/hers/x")
        made["alice, elsewhere"] = client.create_run(other).info
        client.log_artifact(made["alice, elsewhere"].run_id, str(tmp_path / "weights.txt"))
        both = client.create_experiment("of both", tags={"hokusai.shared": "true"})
        client.create_run(both)
        trace = f"tr-{secrets.token_hex(16)}"
        started = before.request("POST", TRACES, key=keys["bob"]["key"], body=start_trace(trace, both))
        assert started.status == 200, started.body
        client_of(before, keys["bob"]["key"], monkeypatch).create_run(both)
        ours = {"name": "questions", "experiment_ids": [made["alice"].experiment_id, other]}
        dataset = before.request("POST", DATASETS + "create", key=keys["alice"]["key"], body=ours).json()
        database = before.database
    old.stop()
    new = start_mlflow(home, database_url=store, watchdog=WATCHDOG, port=port)
    new.wait_until_ready()
    table = tmp_path / "table.csv"
    table.write_text("user,organisation\nalice,north\nbob,south\n")
    try:
        with portal(mlflow_url=new.url, database=database, ISOLATION="required") as after:
            for slug in ("north", "south"):
                after.manage("organisation", "create", slug)
            command = ["organise", "--table", str(table), "--artifacts", str(home / "artifacts"), "--json"]
            command += ["--backend-store-uri", mlflow_backend(store)]
            planned = json.loads(after.manage(*command, "--dry-run").stdout)
            moved = json.loads(after.manage(*command).stdout)
            again = json.loads(after.manage(*command).stdout)

            assert planned == moved
            assert moved["organisations"] == {
                "north": {"experiments": 2, "models": 1, "datasets": 1},
                "shared": {"experiments": 2, "models": 1, "datasets": 0},
                "south": {"experiments": 1, "models": 1, "datasets": 0},
            }
            [split] = moved["split"]
            assert "“of both” has runs of several organisations, and goes to shared" in split
            assert (moved["conflicts"], again["organisations"]) == ([], {})
            address = DATASETS + dataset["dataset"]["dataset_id"]
            status = {name: after.request("GET", address, key=keys[name]["key"]).status for name in keys}
            assert status == {"alice": 200, "bob": 404, "carol": 404}
            home = "select slug from proxy_owner o join keys_organisation g on g.id = organisation_id"
            assert after.sql(f"{home} where o.name = %s", trace) == [("shared",)]
            digest = hashlib.sha256(b"weights").hexdigest()
            digests = "select path from proxy_artifactevent where sha256 = %s and path like 'workspaces/%%'"
            assert {path for (path,) in after.sql(digests, digest)} == {
                f"workspaces/{slug}/{folder}/{made[name].run_id}/artifacts/weights.txt"
                for name, slug, folder in (
                    ("alice", "north", made["alice"].experiment_id),
                    ("alice, elsewhere", "north", "hers/x"),
                    ("bob", "south", made["bob"].experiment_id),
                    ("carol", "shared", made["carol"].experiment_id),
                )
            }
            for name, run in made.items():
                name = name.partition(",")[0]
                client = client_of(after, keys[name]["key"], monkeypatch)
                assert [each.name for each in client.search_registered_models()] == [f"model-{name}"]
                copy = client.download_artifacts(run.run_id, "weights.txt", str(tmp_path))
                assert Path(copy).read_text() == "weights"
                client.set_registered_model_tag(f"model-{name}", "still", "mine")
                other = next(each for whose, each in made.items() if not whose.startswith(name))
                with pytest.raises(RestException, match="RESOURCE_DOES_NOT_EXIST"):
                    client.get_run(other.run_id)
            listed = after.manage("list_registrations", "--json", "--model", "model-alice").stdout
            assert "organise" in listed
            after.manage("verify_ledger")
    finally:
        new.stop()
