"""What a leaked key touched, and quarantine for what it registered."""

import csv
import io
import json

import pytest
from mlflow.exceptions import MlflowException

from tests.experiments import new_experiment
from tests.portals import wait_for

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]


@pytest.mark.filterwarnings("ignore")
def test_the_blast_radius_of_a_key_and_quarantine_for_what_it_registered(alice, bob, name, mlflow_portal):
    alice.register(name)
    alice.register(name)
    alice.register(f"=cmd {name}")
    alice.client.rename_registered_model(name, f"{name}-new")
    run = alice.client.create_run(new_experiment(alice.client)).info.run_id
    alice.client.log_metric(run, "loss", 1)
    alice.client.log_metric(run, "loss", 2)
    alice.client.delete_model_version(f"{name}-new", "2")
    bob.register(f"{name}-bobs")
    alice.register(f"{name}-again")
    alice.client.delete_registered_model(f"{name}-again")
    bob.register(f"{name}-again")
    mlflow_portal.calls(at_least=2, operation="runs.log-metric", object_name=run)
    leaked = alice.issued["id"]

    output = mlflow_portal.manage("blast_radius", "--key", leaked, "--since", "1h", "--csv").stdout
    touched = list(csv.DictReader(io.StringIO(output)))
    registered = [row for row in touched if row["where"] == "ledger"]
    assert [row["operation"] for row in registered if row["outcome"] == "done"] == [
        "registered-models.create",
        "model-versions.create",
        "model-versions.create",
        "registered-models.create",
        "model-versions.create",
        "registered-models.rename",
        "model-versions.delete",
        "registered-models.create",
        "model-versions.create",
        "registered-models.delete",
    ]
    assert f"'=cmd {name}" in {row["name"] for row in registered}  # a spreadsheet must not compute it
    assert run in {row["name"] for row in touched if row["where"] == "owners"}
    [metrics] = [row for row in touched if row["operation"] == "runs.log-metric"]
    assert (metrics["name"], metrics["times"]) == (run, "2")
    assert not any("bobs" in row["name"] for row in touched)
    table = mlflow_portal.manage("blast_radius", "--user", "bob", "--since", "1h").stdout
    assert f"{name}-bobs" in table
    assert f"{name}-new" not in table

    mlflow_portal.manage("revoke_key", leaked)
    marked = mlflow_portal.manage(
        "quarantine", "--key", leaked, "--since", "1h", "--reason", "leaked", "--json"
    )
    assert [(mark["name"], mark["version"], mark["result"]) for mark in json.loads(marked.stdout)] == [
        (f"{name}-new", "1", "marked"),
        (f"{name}-new", "2", "gone"),
        (f"=cmd {name}", "1", "marked"),
        (f"{name}-again", "1", "gone"),
    ]
    assert "hokusai.quarantine" not in bob.client.get_model_version(f"{name}-again", "1").tags
    assert bob.client.get_model_version(f"{name}-new", "1").tags["hokusai.quarantine"] == "leaked"
    assert "hokusai.quarantine" not in bob.client.get_model_version(f"{name}-bobs", "1").tags
    [entry, _] = mlflow_portal.rows(
        "select * from proxy_registration where actor = 'quarantine' and position(%s in object_name) > 0 "
        "order by id",
        name,
    )
    assert (entry["operation"], entry["version"], entry["outcome"]) == ("model-versions.set-tag", "1", "done")
    assert entry["tags"] == {"hokusai.quarantine": "leaked"}
    again = mlflow_portal.manage("quarantine", "--key", leaked, "--since", "1h")
    assert again.stdout.count("marked before") == 2

    with pytest.raises(MlflowException, match="quarantine"):
        bob.client.delete_model_version_tag(f"{name}-bobs", "1", "hokusai.quarantine")
    with pytest.raises(MlflowException, match="quarantine"):
        bob.register(f"{name}-bobs", {"hokusai.quarantine": "no"})


@pytest.mark.filterwarnings("ignore")
def test_the_same_over_the_management_api(alice, bob, name, mlflow_portal):
    alice.register(name)
    bob.register(f"{name}-bobs")
    since, leaked = "2026-01-01T00:00:00Z", alice.issued["id"]
    mlflow_portal.manage(
        "shell", "-c", "from keys.models import User; User.objects.create_superuser('quarantine-admin')"
    )
    admin = mlflow_portal.issue("quarantine-admin", "--scope", "portal:admin")
    reader = mlflow_portal.issue("quarantine-admin", "--scope", "portal:read")

    def quarantine(key: dict):
        body = {"since": since, "reason": "leaked"}
        return mlflow_portal.request("POST", f"/api/v1/keys/{leaked}/quarantine", key=key["key"], body=body)

    assert quarantine(reader).status == quarantine(alice.issued).status == 403
    assert "hokusai.quarantine" not in bob.client.get_model_version(name, "1").tags
    for result in ("marked", "marked before"):
        found = quarantine(admin).json()["results"]
        assert [(mark["name"], mark["version"], mark["result"]) for mark in found] == [(name, "1", result)]
    assert bob.client.get_model_version(name, "1").tags["hokusai.quarantine"] == "leaked"
    assert "hokusai.quarantine" not in bob.client.get_model_version(f"{name}-bobs", "1").tags
    run = alice.client.get_model_version(name, "1").run_id
    path = f"/api/v1/keys/{leaked}/touched?since={since}"
    touched = mlflow_portal.request("GET", path, key=admin["key"]).json()["results"]
    assert {(row["operation"], row["outcome"]) for row in touched if row["where"] == "ledger"} == {
        ("registered-models.create", "done"),
        ("model-versions.create", "done"),
    }
    [(who,)] = mlflow_portal.sql(
        "select u.username from proxy_registration r join keys_user u on u.id = r.user_id "
        "where actor = 'quarantine' and object_name = %s",
        name,
    )
    assert who == "quarantine-admin"

    for harm in (
        lambda: alice.client.delete_model_version(name, "1"),
        lambda: alice.client.set_registered_model_alias(name, "champion", "1"),
        lambda: alice.client.transition_model_version_stage(name, "1", "Production"),
        lambda: alice.client.rename_registered_model(name, f"{name}-new"),
        lambda: alice.client.delete_registered_model(name),
        lambda: bob.client.create_model_version(f"{name}-bobs", f"models:/{name}/1"),
        lambda: alice.client.delete_run(run),
        lambda: alice.client.log_text(run, "another", "model/MLmodel"),
    ):
        with pytest.raises(Exception, match="is in quarantine since"):
            harm()
    alice.client.log_metric(run, "loss", 1)

    def lift(key: dict):
        body = {"name": name, "version": "1", "reason": "checked"}
        return mlflow_portal.request("POST", "/api/v1/quarantine/lift", key=key["key"], body=body)

    assert lift(reader).status == lift(alice.issued).status == 403
    assert lift(admin).json()["result"] == "lifted"
    assert lift(admin).json()["result"] == "not marked"
    assert "hokusai.quarantine" not in bob.client.get_model_version(name, "1").tags
    alice.client.set_registered_model_alias(name, "champion", "1")
    [(detail,)] = mlflow_portal.sql(
        "select detail from proxy_registration where actor = 'quarantine' and object_name = %s "
        "and operation = 'model-versions.delete-tag'",
        name,
    )
    assert detail == {"lift_reason": "checked"}
    alice.client.log_text(run, "another", "model/MLmodel")
    alice.client.delete_run(run)


@pytest.mark.filterwarnings("ignore")
def test_a_command_lifts_quarantine_with_a_reason(alice, name, mlflow_portal):
    alice.register(name)
    run = alice.client.get_model_version(name, "1").run_id
    experiment = alice.client.get_run(run).info.experiment_id
    alice.client.log_metric(run, "loss", 1)  # the portal now remembers that nothing is in quarantine
    since = ["quarantine", "--key", alice.issued["id"], "--since", "1h"]
    assert "marked" in mlflow_portal.manage(*since).stdout
    upload = f"/api/mlflow/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/model/MLmodel"

    def overwrite() -> int:
        return mlflow_portal.request("PUT", upload, key=alice.issued["key"], body=b"another").status

    assert wait_for(overwrite, lambda status: status == 403, seconds=1) == 403, "within a second"
    with pytest.raises(MlflowException, match="Only staff who may change keys can lift it"):
        alice.client.delete_model_version(name, "1")

    without = mlflow_portal.manage("quarantine", "--lift", name, "1", check=False)
    lifted = mlflow_portal.manage("quarantine", "--lift", name, "1", "--reason", "checked")

    assert without.returncode == 1
    assert "--reason" in without.stderr
    assert lifted.stdout == f"{name} version 1: lifted\n"
    alice.client.delete_model_version(name, "1")
    assert mlflow_portal.manage("verify_ledger").returncode == 0
