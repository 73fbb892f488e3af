"""Alice made it; bob has a key of his own. He may read all of it and write none of it."""

import json
import secrets
import threading

import mlflow
import pytest
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from tests.direct import DirectClient
from tests.experiments import new_experiment

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]


FOREIGN_WRITES = {
    "log a metric": lambda c, w, t: c.log_metric(w.run, "x", 1),
    "log a batch": lambda c, w, t: c.log_batch(w.run, metrics=[Metric("x", 1, 1, 0)]),
    "log a parameter": lambda c, w, t: c.log_param(w.run, "x", 1),
    "tag the run": lambda c, w, t: c.set_tag(w.run, "x", "1"),
    "end the run": lambda c, w, t: c.set_terminated(w.run),
    "delete the run": lambda c, w, t: c.delete_run(w.run),
    "create a run in the experiment": lambda c, w, t: c.create_run(w.experiment),
    "rename the experiment": lambda c, w, t: c.rename_experiment(w.experiment, "bobs"),
    "delete the experiment": lambda c, w, t: c.delete_experiment(w.experiment),
    "tag the experiment": lambda c, w, t: c.set_experiment_tag(w.experiment, "hokusai.shared", "true"),
    "rename the model": lambda c, w, t: c.rename_registered_model(w.model, w.model + "-bobs"),
    "delete the model": lambda c, w, t: c.delete_registered_model(w.model),
    "describe the model": lambda c, w, t: c.update_registered_model(w.model, "bob's now"),
    "tag the model": lambda c, w, t: c.set_registered_model_tag(w.model, "x", "1"),
    "alias the model": lambda c, w, t: c.set_registered_model_alias(w.model, "champion", "1"),
    "delete an alias": lambda c, w, t: c.delete_registered_model_alias(w.model, "champion"),
    "add a version": lambda c, w, t: c.create_model_version(w.model, f"runs:/{w.run}/model", run_id=w.run),
    "delete the version": lambda c, w, t: c.delete_model_version(w.model, "1"),
    "tag the version": lambda c, w, t: c.set_model_version_tag(w.model, "1", "x", "1"),
    "stage the version": lambda c, w, t: c.transition_model_version_stage(w.model, "1", "Production"),
    "finalize the logged model": lambda c, w, t: c.finalize_logged_model(w.logged_model, "READY"),
    "tag the logged model": lambda c, w, t: c.set_logged_model_tags(w.logged_model, {"x": "1"}),
    "delete the logged model": lambda c, w, t: c.delete_logged_model(w.logged_model),
    "tag the trace": lambda c, w, t: c.set_trace_tag(w.trace, "x", "1"),
    "delete the trace": lambda c, w, t: c.delete_traces(w.experiment, trace_ids=[w.trace]),
    "delete all traces": lambda c, w, t: c.delete_traces(w.experiment, max_timestamp_millis=2**52),
}


@pytest.mark.parametrize("what", FOREIGN_WRITES)
@pytest.mark.filterwarnings("ignore")
def test_bob_cannot(what, alice, bob, work, tmp_path):
    """Each refusal is an exception in MLflow's client that says whose it is and what to do."""
    with pytest.raises(MlflowException) as refused:
        FOREIGN_WRITES[what](bob.client, work, tmp_path)

    assert refused.value.error_code == "PERMISSION_DENIED"
    assert "belongs to alice" in str(refused.value)


def test_bob_can_read_all_of_it(alice, bob, work):
    client = bob.client

    assert client.get_run(work.run).info.run_id == work.run
    assert client.get_experiment(work.experiment).experiment_id == work.experiment
    assert client.get_model_version(work.model, "1").run_id == work.run
    assert client.get_logged_model(work.logged_model).model_id == work.logged_model
    assert bob.call("GET", f"/api/3.0/mlflow/traces/{work.trace}").status == 200
    assert mlflow.artifacts.load_text(f"runs:/{work.run}/notes.txt") == "alice's"


@pytest.mark.parametrize(
    "path",
    [
        "{experiment}/{run}/artifacts/notes.txt",
        "{experiment}/file.txt",
        "{experiment}/x/y.txt",
        "{experiment}/models/{logged_model}/artifacts/MLmodel",
        "{experiment}/traces/{trace}/artifacts/traces.json",
        "{experiment}%2F{run}%2Fartifacts%2Fnotes.txt",
    ],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_bob_cannot_write_or_delete_artifacts_under_it(method, path, bob, work):
    target = path.format(**vars(work))

    reply = bob.call(method, f"/api/2.0/mlflow-artifacts/artifacts/{target}", b"bob's")

    assert reply.status in (400, 403), reply.body
    notes = f"/api/2.0/mlflow-artifacts/artifacts/{work.experiment}/{work.run}/artifacts/notes.txt"
    assert bob.call("GET", notes).body == b"alice's"


# `tests/proxy/request/test_artifact_paths.py` tests the paths that MLflow would normalise.
@pytest.mark.parametrize("path", ["0", "{experiment}"])
def test_nobody_deletes_an_experiments_tree(path, alice, carol, work):
    for person in (alice, carol):
        reply = person.call("DELETE", f"/api/2.0/mlflow-artifacts/artifacts/{path.format(**vars(work))}")

        assert reply.status in (400, 403)
    assert alice.client.list_artifacts(work.run)


@pytest.mark.parametrize(
    "query", ["", "?path=", "?path=.", "?path={experiment}", "?Path=5", "?path=5&path=6"]
)
def test_nobody_lists_the_store_or_an_experiments_tree(query, carol, work):
    reply = carol.call("GET", f"/api/2.0/mlflow-artifacts/artifacts{query.format(**vars(work))}")

    assert reply.status in (400, 403)


SPELLINGS = {
    "snake case": lambda mine, theirs: {"run_id": theirs, "key": "x", "value": "1"},
    "camel case": lambda mine, theirs: {"runId": theirs, "key": "x", "value": "1"},
    "run_uuid": lambda mine, theirs: {"run_uuid": theirs, "key": "x", "value": "1"},
    "mine in run_uuid, theirs in runId": lambda mine, theirs: {
        "run_uuid": mine,
        "runId": theirs,
        "key": "x",
        "value": "1",
    },
    "mine in run_id, theirs in run_uuid": lambda mine, theirs: {
        "run_id": mine,
        "run_uuid": theirs,
        "key": "x",
        "value": "1",
    },
    "a string holding JSON": lambda mine, theirs: json.dumps(
        json.dumps({"run_id": theirs, "key": "x", "value": "1"})
    ).encode(),
    "a key twice": lambda mine, theirs: (
        f'{{"run_id":"{mine}","run_id":"{theirs}","key":"x","value":"1"}}'.encode()
    ),
    "UTF-16": lambda mine, theirs: json.dumps({"run_id": theirs, "key": "x", "value": "1"}).encode("utf-16"),
    "a byte order mark": lambda mine, theirs: (
        b"\xef\xbb\xbf" + json.dumps({"run_id": theirs, "key": "x", "value": "1"}).encode()
    ),
    "a value that stops MLflow's parser": lambda mine, theirs: {
        "run_uuid": theirs,
        "key": 5,
        "run_id": mine,
        "value": "1",
    },
    "both spellings": lambda mine, theirs: {"run_id": mine, "runId": theirs, "key": "x", "value": "1"},
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_of_a_run_gets_past_its_owner(spelling, alice, bob, work):
    mine = bob.client.create_run(new_experiment(bob.client)).info.run_id

    reply = bob.call("POST", "/api/2.0/mlflow/runs/set-tag", SPELLINGS[spelling](mine, work.run))

    assert reply.status in (400, 403), reply.body
    assert "x" not in alice.client.get_run(work.run).data.tags


def test_metrics_of_ones_own_run_do_not_reach_anothers_logged_model(bob, work):
    mine = bob.client.create_run(new_experiment(bob.client)).info.run_id
    metric = {"key": "x", "value": 1.0, "timestamp": 1, "step": 0, "model_id": work.logged_model}

    assert bob.call("POST", "/api/2.0/mlflow/runs/log-metric", {"run_id": mine, **metric}).status == 403
    assert (
        bob.call("POST", "/api/2.0/mlflow/runs/log-batch", {"run_id": mine, "metrics": [metric]}).status
        == 403
    )


def test_a_path_of_ones_own_model_does_not_cover_anothers_in_the_body(bob, work):
    """MLflow acts on the body's model_id there and ignores the path's."""
    experiment = bob.client.create_experiment(f"bobs-{work.model}")
    mine = bob.client.create_logged_model(experiment).model_id
    body = {"model_id": work.logged_model, "status": "LOGGED_MODEL_READY"}

    assert bob.call("PATCH", f"/api/2.0/mlflow/logged-models/{mine}", body).status == 403


def test_a_renamed_model_stays_its_owners_and_its_old_name_reserved(alice, bob, own_work):
    new = f"{own_work.model}-renamed"
    alice.client.rename_registered_model(own_work.model, new)

    with pytest.raises(MlflowException, match="belongs to alice"):
        bob.client.delete_registered_model(new)
    with pytest.raises(MlflowException, match="reserved"):
        bob.client.create_registered_model(own_work.model)
    alice.client.update_registered_model(new, "still mine")
    alice.client.create_registered_model(own_work.model)


def test_a_deleted_models_name_is_free_again(alice, bob, own_work):
    alice.client.delete_registered_model(own_work.model)

    bob.client.create_registered_model(own_work.model)

    with pytest.raises(MlflowException, match="belongs to bob"):
        alice.client.update_registered_model(own_work.model, "mine?")


def test_a_shared_experiment_takes_anyones_runs_which_stay_their_own(alice, bob, own_work):
    alice.client.set_experiment_tag(own_work.experiment, "hokusai.shared", "true")

    run = bob.client.create_run(own_work.experiment).info.run_id
    bob.client.log_metric(run, "x", 1)
    with pytest.raises(MlflowException, match="belongs to bob"):
        alice.client.log_metric(run, "x", 2)
    alice.client.delete_experiment_tag(own_work.experiment, "hokusai.shared")
    with pytest.raises(MlflowException, match="belongs to alice"):
        bob.client.create_run(own_work.experiment)


def test_a_key_for_any_owner_writes_what_others_and_nobody_own(carol, work, mlflow_server):
    carol.client.set_tag(work.run, "reviewed", "yes")
    direct = DirectClient(mlflow_server.url)
    nobodys = direct.create_run(new_experiment(direct)).info.run_id

    carol.client.set_tag(nobodys, "reviewed", "yes")


def test_what_was_made_around_the_portal_belongs_to_nobody(bob, mlflow_server):
    direct = DirectClient(mlflow_server.url)
    nobodys = direct.create_run(new_experiment(direct)).info.run_id

    with pytest.raises(MlflowException, match="belongs to nobody"):
        bob.client.set_tag(nobodys, "x", "1")


def test_a_dataset_is_its_creators(alice, bob):
    """Its tags are JSON in a string."""
    experiments = [new_experiment(alice.client)]
    body = {
        "name": f"data-{secrets.token_hex(4)}",
        "experiment_ids": experiments,
        "tags": '{"mlflow.user": "x"}',
    }
    made = alice.call("POST", "/api/3.0/mlflow/datasets/create", body)
    dataset = made.json()["dataset"]["dataset_id"]
    tags = {"dataset_id": dataset, "tags": '{"a": "1"}'}

    assert bob.call("PATCH", f"/api/3.0/mlflow/datasets/{dataset}/tags", tags).status == 403
    assert alice.call("PATCH", f"/api/3.0/mlflow/datasets/{dataset}/tags", tags).status == 200


def test_a_reserved_name_does_not_make_its_former_owner_the_owner_of_anothers_model(bob, mlflow_server):
    name = f"reserved-{secrets.token_hex(4)}"
    bob.client.create_registered_model(name)
    bob.client.rename_registered_model(name, f"{name}-new")
    DirectClient(mlflow_server.url).create_registered_model(name)

    with pytest.raises(MlflowException, match="belongs to nobody"):
        bob.client.update_registered_model(name, "mine again?")


def test_ones_own_id_in_anothers_folder_is_not_enough(bob, work):
    experiment = new_experiment(bob.client)
    mine = bob.client.create_run(experiment).info.run_id

    for path in (
        f"{work.experiment}/models/{mine}/artifacts/x",
        f"{work.experiment}/{work.run}/{mine}/artifacts/x",
    ):
        assert bob.call("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{path}", b"x").status == 403
    own = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{mine}/artifacts/x"
    assert bob.call("PUT", own, b"x").status == 200


def test_stages_work_on_the_embedded_mlflow(alice, own_work):
    client = alice.client
    with pytest.warns(FutureWarning):
        client.transition_model_version_stage(
            own_work.model, "1", "Production", archive_existing_versions=True
        )


def test_a_late_deletion_does_not_hit_the_name_in_other_hands(alice, bob):
    """Bob deletes his model several times at once while alice waits to take its name."""
    for _ in range(8):
        name = f"raced-{secrets.token_hex(4)}"
        assert bob.call("POST", "/api/2.0/mlflow/registered-models/create", {"name": name}).status == 200
        deletions = [
            threading.Thread(
                target=bob.call, args=("DELETE", "/api/2.0/mlflow/registered-models/delete", {"name": name})
            )
            for _ in range(5)
        ]
        for deletion in deletions:
            deletion.start()
        taken = False
        for _ in range(50):
            taken = (
                taken
                or alice.call("POST", "/api/2.0/mlflow/registered-models/create", {"name": name}).status
                == 200
            )
        for deletion in deletions:
            deletion.join()
        assert taken
        tag = {"name": name, "key": "mine", "value": "1"}
        assert alice.call("POST", "/api/2.0/mlflow/registered-models/set-tag", tag).status == 200
        assert bob.call("POST", "/api/2.0/mlflow/registered-models/set-tag", tag).status == 403
