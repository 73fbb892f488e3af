"""The portal sets who created an object, and refuses input that would reach the server's files from everybody."""

import json
import secrets

import pytest
from mlflow.exceptions import MlflowException

from proxy.routes import message_types
from proxy.routes.table import OPERATIONS
from tests.direct import DirectClient
from tests.end_to_end.sides import start_trace
from tests.experiments import new_experiment

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]


def test_who_made_it_is_not_what_the_client_claims(alice, bob, keys, mlflow_server):
    """A run, a model and a version made by a client that claims to be someone else."""
    claims = {"mlflow.user": "root", "hokusai.user_id": "usr_root", "hokusai.key_id": "key_root", "mine": "1"}
    tags = [{"key": key, "value": value} for key, value in claims.items()]
    experiment = new_experiment(bob.client)
    body = {"experiment_id": experiment, "user_id": "root", "tags": tags}
    run = bob.call("POST", "/api/2.0/mlflow/runs/create", body).json()["run"]
    camel = bob.call("POST", "/api/2.0/mlflow/runs/create", {"experimentId": experiment, "userId": "root"})
    name = f"claimed-{secrets.token_hex(4)}"
    bob.call("POST", "/api/2.0/mlflow/registered-models/create", {"name": name, "tags": tags})
    run_id = run["info"]["run_id"]
    version = {"name": name, "source": f"runs:/{run_id}/m", "run_id": run_id, "tags": tags}
    assert bob.call("POST", "/api/2.0/mlflow/model-versions/create", version).status == 200

    direct = DirectClient(mlflow_server.url)
    stamps = {"hokusai.user_id": keys["bob"]["user_id"], "hokusai.key_id": keys["bob"]["id"], "mine": "1"}
    made = direct.get_run(run_id)
    assert (made.info.user_id, made.data.tags["mlflow.user"]) == ("bob", "bob")
    for found in (
        made.data.tags,
        direct.get_registered_model(name).tags,
        direct.get_model_version(name, "1").tags,
    ):
        assert {key: found.get(key) for key in stamps} == stamps
    assert camel.status in (200, 400)
    if camel.status == 200:
        assert camel.json()["run"]["info"]["user_id"] == "bob"


@pytest.mark.parametrize("tag", ["hokusai.user_id", "hokusai.key_id", "mlflow.user"])
def test_who_made_it_is_not_changed_by_any_route_that_takes_tags(tag, alice, work):
    pair = {"key": tag, "value": "usr_evil"}
    tags = {"tags": [pair]}
    run, model, version = {"run_id": work.run}, {"name": work.model}, {"name": work.model, "version": "1"}
    trace_info = f"/api/2.0/mlflow/traces/{work.trace}"
    attempts = [
        ("POST", "/api/2.0/mlflow/runs/set-tag", run | pair),
        ("POST", "/api/2.0/mlflow/runs/delete-tag", run | {"key": tag}),
        ("POST", "/api/2.0/mlflow/runs/log-batch", run | tags),
        ("POST", "/api/2.0/mlflow/experiments/set-experiment-tag", {"experiment_id": work.experiment} | pair),
        (
            "POST",
            "/api/2.0/mlflow/experiments/delete-experiment-tag",
            {"experiment_id": work.experiment, "key": tag},
        ),
        (
            "PATCH",
            f"/api/2.0/mlflow/logged-models/{work.logged_model}/tags",
            {"model_id": work.logged_model} | tags,
        ),
        ("DELETE", f"/api/2.0/mlflow/logged-models/{work.logged_model}/tags/{tag}", None),
        ("POST", "/api/2.0/mlflow/registered-models/set-tag", model | pair),
        ("DELETE", "/api/2.0/mlflow/registered-models/delete-tag", model | {"key": tag}),
        ("POST", "/api/2.0/mlflow/model-versions/set-tag", version | pair),
        ("DELETE", "/api/2.0/mlflow/model-versions/delete-tag", version | {"key": tag}),
        ("PATCH", f"{trace_info}/tags", pair),
        ("DELETE", f"{trace_info}/tags", {"key": tag}),
        ("PATCH", trace_info, {"request_id": work.trace} | tags),
        ("PATCH", f"/api/3.0/mlflow/traces/{work.trace}/tags", pair),
        ("DELETE", f"/api/3.0/mlflow/traces/{work.trace}/tags", {"key": tag}),
    ]

    for method, path, body in attempts:
        reply = alice.call(method, path, body)
        assert (reply.status, reply.json()["error_code"]) == (403, "PERMISSION_DENIED"), (path, reply.body)


def test_a_copied_batch_and_the_end_of_a_trace_pass_without_these_tags(alice, keys, own_work, mlflow_server):
    claims = {"mlflow.user": "root", "hokusai.user_id": "usr_root", "hokusai.key_id": "key_root", "mine": "1"}
    tags = {"tags": [{"key": key, "value": value} for key, value in claims.items()]}
    trace = {"request_id": own_work.trace, "timestamp_ms": 1, "status": "OK"}
    for method, path, body in (
        ("POST", "runs/log-batch", {"run_id": own_work.run} | tags),
        ("PATCH", f"logged-models/{own_work.logged_model}/tags", tags),
        ("PATCH", f"traces/{own_work.trace}", trace | tags),
    ):
        reply = alice.call(method, f"/api/2.0/mlflow/{path}", body)
        assert reply.status == 200, (path, reply.body)

    direct = DirectClient(mlflow_server.url)
    run = direct.get_run(own_work.run).data.tags
    assert (run["mlflow.user"], run["hokusai.user_id"], run["mine"]) == (
        "alice",
        keys["alice"]["user_id"],
        "1",
    )
    model = direct.get_logged_model(own_work.logged_model).tags
    assert (model["hokusai.key_id"], model["mine"]) == (keys["alice"]["id"], "1")
    info = alice.call("GET", f"/api/3.0/mlflow/traces/{own_work.trace}").json()["trace"]["trace_info"]
    trace_tags = info["tags"]
    assert trace_tags["mine"] == "1"
    assert not {"mlflow.user", "hokusai.user_id", "hokusai.key_id"} & set(trace_tags)


def test_names_of_people_at_mlflow_are_the_callers(bob, mlflow_server):
    """An issue, a dataset with a record, a trace with an assessment, and a review."""
    api = "/api/3.0/mlflow"

    def made(method: str, path: str, body: dict) -> dict:
        reply = bob.call(method, f"{api}/{path}", body)
        assert reply.status == 200, (path, reply.body)
        return reply.json()

    experiment = bob.client.create_experiment(f"claims-{secrets.token_hex(4)}")
    issue = {"experiment_id": experiment, "name": "i", "description": "d", "created_by": "root"}
    assert made("POST", "issues", issue)["issue"]["created_by"] == "bob"

    tags = json.dumps({"mlflow.user": "root"})
    dataset = {"name": f"d-{secrets.token_hex(4)}", "experiment_ids": [experiment], "tags": tags}
    dataset = made("POST", "datasets/create", dataset | {"created_by": "root"})["dataset"]
    assert (dataset["created_by"], json.loads(dataset["tags"])["mlflow.user"]) == ("bob", "bob")
    records = json.dumps([{"inputs": {"q": "1"}, "tags": {"mlflow.user": "root"}}])
    made("POST", f"datasets/{dataset['dataset_id']}/records", {"records": records, "updated_by": "root"})
    dataset = made("GET", f"datasets/{dataset['dataset_id']}", {})["dataset"]
    assert dataset["last_updated_by"] == "bob"

    trace = start_trace(f"tr-{secrets.token_hex(16)}", experiment)
    trace["trace"]["trace_info"] |= {
        "tags": {"mlflow.user": "root"},
        "trace_metadata": {"mlflow.user": "root", "mlflow.auth.username": "root"},
    }
    info = made("POST", "traces", trace)["trace"]["trace_info"]
    assert (info["tags"]["mlflow.user"], info["trace_metadata"]["mlflow.user"]) == ("bob", "bob")
    assert "mlflow.auth.username" not in info["trace_metadata"]
    source = {"source_type": "HUMAN", "source_id": "root"}
    assessment = {"assessment_name": "good", "source": source, "feedback": {"value": True}}
    assessment = made("POST", f"traces/{info['trace_id']}/assessments", {"assessment": assessment})[
        "assessment"
    ]
    assert assessment["source"]["source_id"] == "bob"

    queue = {"experiment_id": experiment, "user": "root"}
    assert bob.call("POST", f"{api}/review-queues/get-or-create-user", queue).status == 403
    assert (
        made("POST", "review-queues/get-or-create-user", queue | {"user": "bob"})["review_queue"]["name"]
        == "bob"
    )


DANGEROUS = {
    "a schedule of the server's LLM jobs": (
        "POST",
        "experiments/set-experiment-tag",
        {"experimentId": "{experiment}", "key": "mlflow.issueDetection.schedule.enabled", "value": "true"},
    ),
    "a file as artifact location": (
        "POST",
        "experiments/create",
        {"name": "d", "artifact_location": "file:///nowhere"},
    ),
    "a path": ("POST", "experiments/create", {"name": "d", "artifact_location": "/nowhere"}),
    "a bucket": ("POST", "experiments/create", {"name": "d", "artifactLocation": "s3://bucket/x"}),
    "a blank before it": (
        "POST",
        "experiments/create",
        {"name": "d", "artifact_location": "\tfile:///nowhere"},
    ),
    "an experiment's tree": (
        "POST",
        "experiments/create",
        {"name": "d", "artifact_location": "mlflow-artifacts:/27"},
    ),
    "a key for a name": ("POST", "registered-models/create", {"name": f"hk_live_{'x' * 32}"}),
    "a key for another name": (
        "POST",
        "registered-models/rename",
        {"name": "{model}", "new_name": f"my hk_live_{'x' * 32}"},
    ),
    "the store's root": (
        "POST",
        "experiments/create",
        {"name": "d", "artifact_location": "mlflow-artifacts:/"},
    ),
    "another host": (
        "POST",
        "experiments/create",
        {"name": "d", "artifact_location": "mlflow-artifacts://h/x"},
    ),
    "a bucket as source": ("POST", "model-versions/create", {"name": "{model}", "source": "s3://any/prefix"}),
    "its other case": ("POST", "model-versions/create", {"name": "{model}", "source": "S3://any/prefix"}),
    "a file as source": ("POST", "model-versions/create", {"name": "{model}", "source": "file:///nowhere"}),
    "a path as source": ("POST", "model-versions/create", {"name": "{model}", "source": "/nowhere/model"}),
    "a trace's location": (
        "PATCH",
        "traces/{trace}/tags",
        {"key": "mlflow.artifactLocation", "value": "file:///nowhere"},
    ),
    "a trace's archive": (
        "PATCH",
        "traces/{trace}/tags",
        {"key": "mlflow.trace.archiveLocation", "value": "/nowhere"},
    ),
    "its location by ending it": (
        "PATCH",
        "traces/{trace}",
        {"request_id": "{trace}", "tags": [{"key": "mlflow.artifactLocation", "value": "file:///nowhere"}]},
    ),
}


@pytest.mark.parametrize("what", DANGEROUS)
def test_dangerous_input_is_refused_also_from_its_owner(what, carol, alice, work):
    method, path, body = DANGEROUS[what]
    body = json.loads(json.dumps(body).replace("{model}", work.model).replace("{trace}", work.trace))
    body = {key: work.experiment if value == "{experiment}" else value for key, value in body.items()}

    for person in (alice, carol):
        reply = person.call(method, f"/api/2.0/mlflow/{path.format(**vars(work))}", body)

        assert reply.status == 400, reply.body
        assert reply.json()["error_code"] == "INVALID_PARAMETER_VALUE"


def test_an_experiment_lies_in_its_organisations_folder_and_mlflow_takes_no_other(bob):
    """Without workspaces, it may lie in a folder of MLflow's store (`test_other_mlflows`)."""
    name = f"folder-{secrets.token_hex(4)}"

    with pytest.raises(MlflowException, match="artifact_location cannot be specified"):
        bob.client.create_experiment(name, artifact_location=f"mlflow-artifacts:/{name}/x")


CREATIONS = {
    "runs.create": {"experiment_id": "1", "run_name": "mistyped"},
    "registered-models.create": {"name": "mistyped"},
    "experiments.create": {"name": "mistyped"},
    "logged-models.create": {"experiment_id": "1"},
}
MISTYPED = {"string": 5, "int64": "text", "repeated": "text"}


@pytest.mark.parametrize("name", CREATIONS)
def test_nothing_is_created_from_a_body_with_a_mistyped_field(name, bob):
    """MLflow may keep the first part of such a body alone, so that the attribution tags could be lost."""
    operation = next(operation for operation in OPERATIONS if operation.name == name)
    types = message_types.load_types()["messages"][
        message_types.messages_by_request()[f"{operation.method} {operation.path}"]
    ]
    for field, kind in types.items():
        if (container := kind.partition(" ")[0]) in MISTYPED:
            reply = bob.call(operation.method, operation.path, CREATIONS[name] | {field: MISTYPED[container]})
            assert (reply.status, reply.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), field


def test_tags_are_not_set_through_a_mistyped_id(bob):
    body = {"run_id": 5, "key": "x", "value": "1"}

    assert bob.call("POST", "/api/2.0/mlflow/runs/set-tag", body).status == 400
