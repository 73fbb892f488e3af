"""Tags on which MLflow's server acts: the table has all that the installed MLflow reads, and no route takes them."""

import json
from collections.abc import Iterator

import pytest

from keys.refusals import Refusal
from portal.management import installed_mlflow
from portal.management.table_comparison import new_tags
from proxy.policy import dangerous_input
from proxy.policy.server_tags import first_refused
from proxy.request import messages
from proxy.routes import matching, message_types
from proxy.routes.table import OPERATIONS

TAGS = [
    "mlflow.issueDetection.schedule",
    "mlflow.issueDetection.schedule.enabled",
    "MLFLOW.issuedetection.Schedule",
    "mlflow.trace.archiveNow",
    "mlflow.trace.archivalRetention",
    "mlflow.latestOnlineScoring.trace.checkpoint",
]
PAIR = {"key": "TAG", "value": "1"}
CALLS = {
    "POST experiments/create": {"name": "e", "tags": [PAIR]},
    "POST experiments/set-experiment-tag": {"experimentId": "1", **PAIR},
    "POST experiments/delete-experiment-tag": {"experiment_id": "1", "key": "TAG"},
    "POST runs/create": {"experiment_id": "1", "tags": [PAIR]},
    "POST runs/set-tag": {"run_id": "r", **PAIR},
    "POST runs/log-batch": {"run_id": "r", "tags": [PAIR]},
    "POST logged-models": {"experiment_id": "1", "tags": [PAIR]},
    "PATCH logged-models/m-1/tags": {"tags": [PAIR]},
    "DELETE logged-models/m-1/tags/TAG": {},
    "POST registered-models/set-tag": {"name": "m", **PAIR},
    "POST model-versions/create": {"name": "m", "source": "runs:/r/m", "tags": [PAIR]},
    "PATCH traces/tr-1": {"request_id": "tr-1", "tags": [PAIR]},
    "PATCH /api/3.0/mlflow/datasets/d-1/tags": {"tags": json.dumps({"TAG": "1"})},
    "POST /api/3.0/mlflow/datasets/create": {"name": "d", "tags": json.dumps({"TAG": "1"})},
}


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("is_wrapped", [False, True])
@pytest.mark.parametrize("call", CALLS)
def test_no_route_takes_a_tag_on_which_the_server_acts(call, is_wrapped, tag):
    method, _, path = call.replace("TAG", tag).partition(" ")
    match = matching.match_operation(method, path if path.startswith("/") else f"/api/2.0/mlflow/{path}")
    body = json.dumps(CALLS[call]).replace("TAG", tag)
    content = messages.read(match.operation, (json.dumps(body) if is_wrapped else body).encode())

    with pytest.raises(Refusal) as refused:
        dangerous_input.check(match, content, "")

    assert (refused.value.status, refused.value.reason) == (400, "server_tag")


@pytest.mark.parametrize(
    "tag", ["mlflow.issueDetection.jobId", "mlflow.runName", "mlflow.note.content", "schedule"]
)
def test_other_tags_pass(tag):
    assert first_refused([tag]) is None


def test_every_operation_that_takes_tags_declares_them():
    """A field for tags that the table does not know would pass unchecked."""
    types = message_types.load_types()["messages"]

    def tag_fields(message: str, where: str = "", above: tuple[str, ...] = ()) -> Iterator[str]:
        if message in above:
            return
        for name, kind in types[message].items():
            container, _, element = kind.partition(" ")
            list_or_map = {"repeated": "[]", "map": "{}"}.get(container, "")
            if name == "tags":
                yield f"{where}tags[].key" if list_or_map == "[]" else f"{where}tags{{}}"
            elif (element or kind) in types and not kind.startswith("opentelemetry"):
                yield from tag_fields(element or kind, f"{where}{name}{list_or_map}.", (*above, message))

    for operation in OPERATIONS:
        message = message_types.messages_by_request().get(f"{operation.method} {operation.path}")
        if message is not None and not operation.refused and not operation.is_read:
            assert set(tag_fields(message)) <= set(operation.tags), operation.name


def test_the_table_has_every_tag_that_the_installed_server_reads():
    """A release that reads a new tag must not pass unnoticed."""
    read = installed_mlflow.tags()

    assert len(read) > 10
    assert new_tags(read) == []
