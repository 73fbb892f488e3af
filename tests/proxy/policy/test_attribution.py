"""The tags that are the portal's: the maker's are stamped at creation, quarantine's only a command sets."""

import json

import pytest

from keys.refusals import Refusal
from proxy.policy import attribution
from proxy.routes import matching

API = "/api/2.0/mlflow"
VERSION = {"name": "m", "version": "1"}
TAG = {"value": "x"}


def refuse(call: str, content: dict) -> None:
    method, _, path = call.partition(" ")
    attribution.refuse_reserved(matching.match_operation(method, f"{API}/{path}"), content)


@pytest.mark.parametrize("tag", ["hokusai.user_id", "hokusai.key_id", "hokusai.quarantine", "mlflow.user"])
@pytest.mark.parametrize(
    ("call", "content"),
    [
        ("POST model-versions/set-tag", {**VERSION, **TAG, "key": "TAG"}),
        ("DELETE model-versions/delete-tag", {**VERSION, "key": "TAG"}),
        ("POST registered-models/set-tag", {"name": "m", **TAG, "key": "TAG"}),
        ("DELETE registered-models/delete-tag", {"name": "m", "key": "TAG"}),
        ("POST runs/set-tag", {"run_id": "r", **TAG, "key": "TAG"}),
        ("POST runs/log-batch", {"run_id": "r", "tags": [{"key": "TAG", "value": "x"}]}),
        ("PATCH logged-models/m-1/tags", {"tags": [{"key": "TAG", "value": "x"}]}),
        ("DELETE logged-models/m-1/tags/TAG", {}),
        ("POST runs/delete-tag", {"run_id": "r", "key": "TAG"}),
        ("PATCH traces/tr-1/tags", {**TAG, "key": "TAG"}),
        ("DELETE traces/tr-1/tags", {"key": "TAG"}),
    ],
)
def test_no_key_sets_or_deletes_the_portals_tags_later(call, content, tag):
    content = json.loads(json.dumps(content).replace("TAG", tag))

    with pytest.raises(Refusal) as refused:
        refuse(call.replace("TAG", tag), content)

    assert (refused.value.status, refused.value.reason) == (403, "reserved_tag")
    assert tag in refused.value.message


CREATIONS = {
    "POST runs/create": {"experiment_id": "0"},
    "POST experiments/create": {"name": "e"},
    "POST registered-models/create": {"name": "m"},
    "POST model-versions/create": {"name": "m", "source": "models:/x/1"},
    "POST logged-models": {"experiment_id": "0"},
}


@pytest.mark.parametrize("call", CREATIONS)
def test_a_creation_may_bring_the_makers_tags_which_are_replaced(call):
    sent = {
        **CREATIONS[call],
        "tags": [{"key": "hokusai.user_id", "value": "forged"}, {"key": "t", "value": "1"}],
    }
    refuse(call, sent)

    method, _, path = call.partition(" ")
    match = matching.match_operation(method, f"{API}/{path}")
    stamped = attribution.stamp(match, sent, user_id="usr_1", key_id="key_1", user_name="alice")

    tags = {tag["key"]: tag["value"] for tag in stamped["tags"]}
    assert tags["hokusai.user_id"] == "usr_1"
    assert tags["hokusai.key_id"] == "key_1"
    assert tags["t"] == "1"
    assert "hokusai.quarantine" not in tags


@pytest.mark.parametrize("call", CREATIONS)
def test_a_creation_may_not_bring_quarantine(call):
    with pytest.raises(Refusal, match="quarantine"):
        refuse(call, {**CREATIONS[call], "tags": [{"key": "hokusai.quarantine", "value": "x"}]})


def test_tags_that_only_look_like_them_are_anybodys():
    refuse("POST model-versions/set-tag", {**VERSION, **TAG, "key": "hokusai.Quarantine"})


def attribute(call: str, content: dict) -> dict:
    """The request as it goes to MLflow."""
    method, _, path = call.partition(" ")
    api = path if path.startswith("/") else f"{API}/{path}"
    match = matching.match_operation(method, api)
    attribution.refuse_reserved(match, content)
    return attribution.attribute(match, content, user_id="usr_1", key_id="key_1", user_name="alice")


CLAIMS = {"hokusai.user_id": "usr_9", "hokusai.key_id": "key_9", "mlflow.user": "root"}


def pairs(tags: dict) -> list[dict]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def test_a_batch_passes_without_the_tags_of_its_copied_run():
    sent = {"run_id": "r", "metrics": [], "tags": pairs({**CLAIMS, "mine": "1"})}

    assert attribute("POST runs/log-batch", sent) == {**sent, "tags": pairs({"mine": "1"})}


def test_a_batch_of_such_tags_and_metrics_keeps_its_metrics():
    sent = {"run_id": "r", "metrics": [{"key": "loss", "value": 1}], "tags": pairs(CLAIMS)}

    assert attribute("POST runs/log-batch", sent) == {**sent, "tags": []}


def test_tags_of_a_logged_model_and_a_dataset_are_set_without_them():
    sent = {"model_id": "m-1", "tags": pairs({"mine": "1", **CLAIMS})}
    assert attribute("PATCH logged-models/m-1/tags", sent)["tags"] == pairs({"mine": "1"})

    sent = {"tags": json.dumps({"mine": "1", **CLAIMS})}
    assert json.loads(attribute("PATCH /api/3.0/mlflow/datasets/d-1/tags", sent)["tags"]) == {"mine": "1"}


def test_the_end_of_a_trace_passes_without_them():
    sent = {"request_id": "tr-1", "status": "OK", "tags": pairs(CLAIMS), "request_metadata": pairs(CLAIMS)}

    assert attribute("PATCH traces/tr-1", sent) == {**sent, "tags": [], "request_metadata": []}


@pytest.mark.parametrize("call", CREATIONS)
def test_a_creation_names_its_caller_where_the_client_named_another_user(call):
    tags = {
        tag["key"]: tag["value"] for tag in attribute(call, CREATIONS[call] | {"tags": pairs(CLAIMS)})["tags"]
    }

    assert tags == {"hokusai.user_id": "usr_1", "hokusai.key_id": "key_1", "mlflow.user": "alice"}


def test_a_trace_and_a_dataset_name_their_caller():
    gateway = {"mlflow.auth.userId": "7", "mlflow.auth.username": "root"}
    info = {
        "trace_id": "tr-1",
        "tags": {**CLAIMS, "t": "1"},
        "trace_metadata": {**CLAIMS, **gateway, "m": "2"},
    }
    trace = attribute("POST /api/3.0/mlflow/traces", {"trace": {"trace_info": info}})["trace"]["trace_info"]
    assert trace["tags"] == {"mlflow.user": "alice", "t": "1"}
    assert trace["trace_metadata"] == {"mlflow.user": "alice", "m": "2"}

    old = attribute("POST traces", {"experiment_id": "0", "request_metadata": pairs(CLAIMS | gateway)})
    assert old["request_metadata"] == pairs({"mlflow.user": "alice"})

    sent = {"name": "d", "tags": json.dumps({**CLAIMS, "t": "1"})}
    dataset = attribute("POST /api/3.0/mlflow/datasets/create", sent)
    assert json.loads(dataset["tags"]) == {"mlflow.user": "alice", "t": "1"}


def test_a_request_without_claims_goes_on_as_it_came():
    sent = {"run_id": "r", "tags": pairs({"mine": "1"}), "metrics": []}

    assert attribute("POST runs/log-batch", sent) is sent
