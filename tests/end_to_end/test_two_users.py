"""Alice made it; bob has a key of his own. He may read all of it and write none of it."""

import gzip
import json
import secrets
import threading
import time
from dataclasses import dataclass

import mlflow
import pytest
import requests
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.portals import Portal

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]


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


@pytest.fixture(scope="module")
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


def start_trace(trace: str, experiment: str) -> dict:
    location = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}
    info = {
        "trace_id": trace,
        "trace_location": location,
        "request_time": "2026-01-01T00:00:00Z",
        "state": "OK",
    }
    return {"trace": {"trace_info": info}}


@pytest.fixture(scope="module")
def work(mlflow_portal, keys) -> Work:
    """Alice's work, which every test leaves as it is."""
    with pytest.MonkeyPatch.context() as patch:
        return make_work(Person(mlflow_portal, keys["alice"], patch), "alices-work")


@pytest.fixture
def own_work(alice) -> Work:
    """Alice's work for one test that changes it."""
    return make_work(alice, f"work-{secrets.token_hex(4)}")


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
        "%20{experiment}/{run}/artifacts/notes.txt",
        "{experiment}/{run}/artifacts/%252e%252e/notes.txt",
        "file:{experiment}/{run}/artifacts/notes.txt",
        "%2531/{run}/artifacts/notes.txt",
        "{experiment}%3F/notes.txt",
    ],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_bob_cannot_write_or_delete_artifacts_under_it(method, path, bob, work):
    target = path.format(**vars(work))

    reply = bob.call(method, f"/api/2.0/mlflow-artifacts/artifacts/{target}", b"bob's")

    assert reply.status in (400, 403), reply.body
    notes = f"/api/2.0/mlflow-artifacts/artifacts/{work.experiment}/{work.run}/artifacts/notes.txt"
    assert bob.call("GET", notes).body == b"alice's"


@pytest.mark.parametrize("path", [".", "%20", "%3F", "%2520", "0", "5/.", "{experiment}", "{experiment}%3F"])
def test_nobody_deletes_the_store_or_an_experiments_tree(path, alice, carol, work):
    for person in (alice, carol):
        reply = person.call("DELETE", f"/api/2.0/mlflow-artifacts/artifacts/{path.format(**vars(work))}")

        assert reply.status in (400, 403)
    assert alice.client.list_artifacts(work.run)


@pytest.mark.parametrize(
    "query", ["", "?path=", "?path=.", "?path={experiment}", "?path=%20", "?Path=5", "?path=5&path=6"]
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
    mine = bob.client.create_run("0").info.run_id

    reply = bob.call("POST", "/api/2.0/mlflow/runs/set-tag", SPELLINGS[spelling](mine, work.run))

    assert reply.status in (400, 403), reply.body
    assert "x" not in alice.client.get_run(work.run).data.tags


def test_metrics_of_ones_own_run_do_not_reach_anothers_logged_model(bob, work):
    mine = bob.client.create_run("0").info.run_id
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


def test_an_existing_trace_is_not_taken_by_its_id(bob, work):
    reply = bob.call("POST", "/api/3.0/mlflow/traces", start_trace(work.trace, "0"))

    assert reply.status == 403
    assert "belongs to alice" in reply.json()["message"]


def test_a_trace_made_around_the_portal_is_nobodys_and_not_for_the_taking(bob, mlflow_server):
    trace = f"tr-{secrets.token_hex(16)}"
    around = requests.post(
        f"{mlflow_server.url}/api/3.0/mlflow/traces", json=start_trace(trace, "0"), timeout=30
    )
    assert around.status_code == 200

    reply = bob.call("POST", "/api/3.0/mlflow/traces", start_trace(trace, "0"))

    assert reply.status == 403
    assert "belongs to nobody" in reply.json()["message"]


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
    nobodys = MlflowClient(mlflow_server.url, mlflow_server.url).create_run("0").info.run_id

    carol.client.set_tag(nobodys, "reviewed", "yes")


def test_what_was_made_around_the_portal_belongs_to_nobody(bob, mlflow_server):
    nobodys = MlflowClient(mlflow_server.url, mlflow_server.url).create_run("0").info.run_id

    with pytest.raises(MlflowException, match="belongs to nobody"):
        bob.client.set_tag(nobodys, "x", "1")


def test_who_made_it_is_not_what_the_client_claims(alice, bob, keys, mlflow_server):
    """A run, a model and a version made by a client that claims to be someone else."""
    claims = {"mlflow.user": "root", "hokusai.user_id": "usr_root", "hokusai.key_id": "key_root", "mine": "1"}
    tags = [{"key": key, "value": value} for key, value in claims.items()]
    body = {"experiment_id": "0", "user_id": "root", "tags": tags}
    run = bob.call("POST", "/api/2.0/mlflow/runs/create", body).json()["run"]
    camel = bob.call("POST", "/api/2.0/mlflow/runs/create", {"experimentId": "0", "userId": "root"})
    name = f"claimed-{secrets.token_hex(4)}"
    bob.call("POST", "/api/2.0/mlflow/registered-models/create", {"name": name, "tags": tags})
    run_id = run["info"]["run_id"]
    version = {"name": name, "source": f"runs:/{run_id}/m", "run_id": run_id, "tags": tags}
    assert bob.call("POST", "/api/2.0/mlflow/model-versions/create", version).status == 200

    direct = MlflowClient(mlflow_server.url, registry_uri=mlflow_server.url)
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


@pytest.mark.parametrize("tag", ["hokusai.user_id", "hokusai.key_id"])
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
        ("PATCH", trace_info, {"request_id": work.trace, "timestamp_ms": 1, "status": "OK"} | tags),
        ("PATCH", f"/api/3.0/mlflow/traces/{work.trace}/tags", pair),
        ("DELETE", f"/api/3.0/mlflow/traces/{work.trace}/tags", {"key": tag}),
    ]

    for method, path, body in attempts:
        reply = alice.call(method, path, body)
        assert (reply.status, reply.json()["error_code"]) == (403, "PERMISSION_DENIED"), (path, reply.body)


DANGEROUS = {
    "a file as artifact location": (
        "POST",
        "experiments/create",
        {"name": "d", "artifact_location": "file:///etc"},
    ),
    "a path": ("POST", "experiments/create", {"name": "d", "artifact_location": "/etc"}),
    "a bucket": ("POST", "experiments/create", {"name": "d", "artifactLocation": "s3://bucket/x"}),
    "a blank before it": ("POST", "experiments/create", {"name": "d", "artifact_location": "\tfile:///etc"}),
    "dots": ("POST", "experiments/create", {"name": "d", "artifact_location": "mlflow-artifacts:/a/../27"}),
    "escaped dots": (
        "POST",
        "experiments/create",
        {"name": "d", "artifact_location": "mlflow-artifacts:/a%2f..%2fb"},
    ),
    "an experiment's tree": (
        "POST",
        "experiments/create",
        {"name": "d", "artifact_location": "mlflow-artifacts:/27"},
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
    "a file as source": ("POST", "model-versions/create", {"name": "{model}", "source": "file:///etc"}),
    "a path as source": ("POST", "model-versions/create", {"name": "{model}", "source": "/etc/passwd"}),
    "a trace's location": (
        "PATCH",
        "traces/{trace}/tags",
        {"key": "mlflow.artifactLocation", "value": "file:///etc"},
    ),
    "a trace's archive": (
        "PATCH",
        "traces/{trace}/tags",
        {"key": "mlflow.trace.archiveLocation", "value": "/etc"},
    ),
    "its location by ending it": (
        "PATCH",
        "traces/{trace}",
        {"request_id": "{trace}", "tags": [{"key": "mlflow.artifactLocation", "value": "file:///etc"}]},
    ),
}


@pytest.mark.parametrize("what", DANGEROUS)
def test_dangerous_input_is_refused_also_from_its_owner(what, carol, alice, work):
    method, path, body = DANGEROUS[what]
    body = json.loads(json.dumps(body).replace("{model}", work.model).replace("{trace}", work.trace))

    for person in (alice, carol):
        reply = person.call(method, f"/api/2.0/mlflow/{path.format(**vars(work))}", body)

        assert reply.status == 400, reply.body
        assert reply.json()["error_code"] == "INVALID_PARAMETER_VALUE"


def test_an_experiment_may_lie_in_a_folder_of_mlflows_store(bob):
    name = f"folder-{secrets.token_hex(4)}"

    experiment = bob.client.create_experiment(name, artifact_location=f"mlflow-artifacts:/{name}/x")
    run = bob.client.create_run(experiment).info.run_id
    bob.client.log_text(run, "bob's", "notes.txt")

    assert bob.client.list_artifacts(run)[0].path == "notes.txt"


def test_ones_own_trace_does_not_cover_the_deletion_of_anothers(bob, alice, work):
    """MLflow's parser stops at a number out of range, forgets the ids behind it, and deletes by time."""
    mine = f"tr-{secrets.token_hex(16)}"
    assert bob.call("POST", "/api/3.0/mlflow/traces", start_trace(mine, "0")).status == 200
    body = {
        "experiment_id": work.experiment,
        "max_timestamp_millis": 2**52,
        "max_traces": 3_000_000_000,
        "request_ids": [mine],
    }

    assert bob.call("POST", "/api/2.0/mlflow/traces/delete-traces", body).status == 400
    assert alice.call("GET", f"/api/3.0/mlflow/traces/{work.trace}").status == 200


def export(*trace_ids: bytes, spans: int = 1, **attributes: str) -> bytes:
    """An OTLP export of root spans."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for trace_id in trace_ids:
        for number in range(spans):
            span = scope.spans.add()
            span.trace_id, span.span_id, span.name = trace_id, (number + 1).to_bytes(8, "big"), "s"
            span.start_time_unix_nano = span.end_time_unix_nano = 1
            for key, value in attributes.items():
                attribute = span.attributes.add()
                attribute.key, attribute.value.string_value = key, value
    return request.SerializeToString()


def send_spans(person: Person, body: bytes, **headers: str):
    sent = {"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": "0"} | headers
    return person.portal.request(
        "POST", "/api/mlflow/v1/traces", key=person.issued["key"], headers=list(sent.items()), body=body
    )


@pytest.mark.parametrize("padding", [b"", b"\0", b"\0" * 300])
def test_spans_are_not_added_to_anothers_trace_also_not_by_a_padded_id(padding, bob, alice, work):
    reply = send_spans(bob, export(padding + bytes.fromhex(work.trace[3:])))

    assert reply.status in (400, 403), reply.body


@pytest.mark.parametrize(
    "key", ["mlflow.artifactLocation", "mlflow.trace.archiveLocation", "hokusai.user_id"]
)
def test_spans_do_not_set_tags_that_are_mlflows_or_the_portals(key, bob):
    reply = send_spans(bob, export(secrets.token_bytes(16), **{f"mlflow.traceTag.{key}": "file:///etc"}))

    assert (reply.status, reply.json()["error_code"]) == (403, "PERMISSION_DENIED")


def test_spans_of_ones_own_are_taken_packed_or_not(bob):
    trace = secrets.token_bytes(16)

    assert send_spans(bob, export(trace)).status == 200
    assert (
        send_spans(bob, gzip.compress(export(trace, spans=3)), **{"Content-Encoding": "gzip"}).status == 200
    )
    assert bob.call("GET", f"/api/3.0/mlflow/traces/tr-{trace.hex()}").status == 200


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(b"\x0a\x00" * 5_000_000),
        gzip.compress(bytes(200 * 2**20)),
        gzip.compress(export(*[secrets.token_bytes(16) for _ in range(600)])),
    ],
    ids=["empty messages", "a bomb", "too many traces"],
)
def test_a_small_export_that_unpacks_to_much_is_refused_at_once(body, bob):
    started = time.monotonic()

    reply = send_spans(bob, body, **{"Content-Encoding": "gzip"})

    assert reply.status in (400, 413)
    assert time.monotonic() - started < 5


def test_of_two_that_claim_a_trace_at_once_one_wins(alice, bob):
    for _ in range(10):
        trace, barrier, statuses = secrets.token_bytes(16), threading.Barrier(2), {}

        def claim(name, person, trace=trace, barrier=barrier, statuses=statuses):
            barrier.wait()
            statuses[name] = send_spans(person, export(trace)).status

        threads = [threading.Thread(target=claim, args=pair) for pair in (("alice", alice), ("bob", bob))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses.values()) == [200, 403]


def test_anothers_assessment_is_not_overridden_from_a_trace_of_ones_own(bob):
    body = start_trace(f"tr-{secrets.token_hex(16)}", "0")
    body["trace"]["trace_info"]["assessments"] = [{"assessment_name": "x", "overrides": "a-theirs"}]

    assert bob.call("POST", "/api/3.0/mlflow/traces", body).status == 400


@pytest.mark.parametrize("trace_id", [None, "", "x", "tr-" + "A" * 32])
def test_a_trace_needs_an_id_of_the_usual_form(trace_id, bob):
    body = start_trace(trace_id or "", "0")
    if trace_id is None:
        del body["trace"]["trace_info"]["trace_id"]

    assert bob.call("POST", "/api/3.0/mlflow/traces", body).status == 400


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("2.0/mlflow/runs/create", {"experiment_id": "0", "start_time": 2**63}),
        ("2.0/mlflow/registered-models/create", {"name": "lost", "description": "\ud800"}),
        ("2.0/mlflow/registered-models/create", {"name": "lost\0"}),
        ("2.0/mlflow/experiments/create", {"name": "lost", "tags": [{"key": "a", "value": "\ud800"}]}),
        ("2.0/mlflow/logged-models", {"experiment_id": "0", "model_type": "\ud800"}),
        ("2.0/mlflow/runs/set-tag", {"run_id": "\ud800", "key": "x", "value": "1"}),
    ],
)
def test_nothing_is_created_without_its_makers_tags(path, body, bob):
    """Each of these MLflow would take, losing what stands behind the value that its parser cannot take."""
    assert bob.call("POST", f"/api/{path}", body).status == 400


def test_a_dataset_is_its_creators(alice, bob):
    """Its tags are JSON in a string."""
    body = {"name": f"data-{secrets.token_hex(4)}", "experiment_ids": ["0"], "tags": '{"mlflow.user": "x"}'}
    made = alice.call("POST", "/api/3.0/mlflow/datasets/create", body)
    dataset = made.json()["dataset"]["dataset_id"]
    tags = {"dataset_id": dataset, "tags": '{"a": "1"}'}

    assert bob.call("PATCH", f"/api/3.0/mlflow/datasets/{dataset}/tags", tags).status == 403
    assert alice.call("PATCH", f"/api/3.0/mlflow/datasets/{dataset}/tags", tags).status == 200


def test_a_reserved_name_does_not_make_its_former_owner_the_owner_of_anothers_model(bob, mlflow_server):
    name = f"reserved-{secrets.token_hex(4)}"
    bob.client.create_registered_model(name)
    bob.client.rename_registered_model(name, f"{name}-new")
    MlflowClient(mlflow_server.url, mlflow_server.url).create_registered_model(name)

    with pytest.raises(MlflowException, match="belongs to nobody"):
        bob.client.update_registered_model(name, "mine again?")


def test_ones_own_id_in_anothers_folder_is_not_enough(bob, work):
    mine = bob.client.create_run("0").info.run_id

    for path in (
        f"{work.experiment}/models/{mine}/artifacts/x",
        f"{work.experiment}/{work.run}/{mine}/artifacts/x",
    ):
        assert bob.call("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{path}", b"x").status == 403
    assert bob.call("PUT", f"/api/2.0/mlflow-artifacts/artifacts/0/{mine}/artifacts/x", b"x").status == 200


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
