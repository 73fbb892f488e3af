"""A key that expires in the middle of a job may finish its runs, and open nothing new."""

import pytest

from tests.experiments import created_by
from tests.portals import wait_for

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]
API = "/api/mlflow/api/2.0/mlflow"


@pytest.fixture
def job(mlflow_portal):
    """A key with a run of its own, and a function that calls with it."""
    key = mlflow_portal.issue("frank")

    def call(method, path, body=None, *, data=None):
        return mlflow_portal.request(method, path, key=key["key"], body=data if data is not None else body)

    experiment = created_by(call, API)
    run = call("POST", f"{API}/runs/create", {"experiment_id": experiment}).json()["run"]["info"]
    return key, run, call


def expire(portal, key, seconds_ago, call):
    """Let the key have expired, and wait until the portal knows."""
    portal.sql(
        "update keys_apikey set expires_at = now() - make_interval(secs => %s) where public_id = %s",
        seconds_ago,
        key["id"],
    )
    refused = wait_for(
        lambda: call("POST", f"{API}/runs/create", {"experiment_id": "1"}), lambda reply: reply.status == 401
    )
    assert refused.status == 401
    return refused


def test_within_its_grace_a_key_finishes_what_it_began(mlflow_portal, job):
    key, run, call = job
    run_id = run["run_id"]

    refused = expire(mlflow_portal, key, 1, call)

    assert "may finish the runs that it began before" in refused.json()["message"]
    # Expired a second ago, the run was made after that: move it before.
    mlflow_portal.sql("update proxy_owner set created_at = now() - interval '1 hour' where name = %s", run_id)
    metric = {"run_id": run_id, "key": "late", "value": 1.0, "timestamp": 1}
    assert (
        wait_for(
            lambda: call("POST", f"{API}/runs/log-metric", metric), lambda reply: reply.status == 200
        ).status
        == 200
    )
    artifact = (
        f"/api/mlflow/api/2.0/mlflow-artifacts/artifacts/{run['experiment_id']}/{run_id}/artifacts/late.txt"
    )
    assert call("PUT", artifact, data=b"late").status == 200
    assert call("GET", f"{API}/runs/get?run_id={run_id}").status == 200
    assert call("POST", f"{API}/runs/update", {"run_id": run_id, "status": "FINISHED"}).status == 200


def test_within_its_grace_a_key_opens_nothing_new_and_touches_no_other_run(mlflow_portal, job):
    key, run, call = job
    other = mlflow_portal.issue("frank")
    theirs = mlflow_portal.request(
        "POST", f"{API}/runs/create", key=other["key"], body={"experiment_id": run["experiment_id"]}
    )
    run_id = theirs.json()["run"]["info"]["run_id"]

    expire(mlflow_portal, key, 1, call)

    metric = {"run_id": run_id, "key": "late", "value": 1.0, "timestamp": 1}
    assert call("POST", f"{API}/runs/log-metric", metric).status == 401
    assert call("POST", f"{API}/registered-models/create", {"name": "late"}).status == 401
    assert call("POST", f"{API}/logged-models", {"experiment_id": run["experiment_id"]}).status == 401


def test_within_its_grace_a_key_deletes_nothing(mlflow_portal):
    key = mlflow_portal.issue("frank", "--preset", "full")

    def call(method, path, body=None):
        return mlflow_portal.request(method, path, key=key["key"], body=body)

    content = {"experiment_id": created_by(call, API)}
    run_id = call("POST", f"{API}/runs/create", content).json()["run"]["info"]["run_id"]
    expire(mlflow_portal, key, 1, call)
    mlflow_portal.sql("update proxy_owner set created_at = now() - interval '1 hour' where name = %s", run_id)

    assert call("POST", f"{API}/runs/delete", {"run_id": run_id}).status == 401


def test_after_its_grace_a_key_does_nothing(mlflow_portal, job):
    key, run, call = job

    expire(mlflow_portal, key, 3601, call)

    assert "expired on" in call("GET", f"{API}/runs/get?run_id={run['run_id']}").json()["message"]
    metric = {"run_id": run["run_id"], "key": "late", "value": 1.0, "timestamp": 1}
    assert call("POST", f"{API}/runs/log-metric", metric).status == 401


def test_revocation_has_no_grace(mlflow_portal, job):
    key, run, call = job

    mlflow_portal.manage("revoke_key", key["id"], "--reason", "left the company")

    path = f"{API}/runs/get?run_id={run['run_id']}"
    refused = wait_for(lambda: call("GET", path), lambda reply: reply.status == 401)
    assert (refused.status, "was revoked on" in refused.json()["message"]) == (401, True)
