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


@pytest.mark.parametrize("tag", ["hokusai.user_id", "hokusai.key_id", "hokusai.quarantine"])
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
