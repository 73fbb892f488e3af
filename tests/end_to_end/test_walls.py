"""Walls between two organisations, on every route of the table: another's object is like one that never existed.

The calls come from the table of operations: each route is called with the same fields, in which only the ids differ.
"""

import re
import secrets

import pytest

from proxy.routes import releases
from proxy.routes.operations import Operation
from proxy.routes.table import OPERATIONS
from tests.end_to_end.sides import V2, V3, Side, Work, new_assessment, other_of_its_form, start_trace
from tests.portals import Reply

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]
REQUEST = re.compile(rb"req_[0-9a-f]{32}")
PASSING = ("date", "x-request-id", "x-hokusai-request-id")  # headers that differ between any two responses
# Rows that a test cannot call with ids of its choice: what they do does not depend on an id, or is for browsers.
APART = {"meta.server-info", "meta.health", "meta.version", "pages.index", "pages.file"}


def requested(operation: Operation, work: Work) -> tuple[str, dict]:
    """The path and the fields of a call to this operation that names the work's objects in every field."""
    ids = dict(work.ids)
    run, experiment, trace, model = (
        ids[name] for name in ("run_id", "experiment_id", "trace_id", "model_id")
    )
    ids |= {"request_id": trace, "alias": "champion", "version": "1", "key": "note", "tag_key": "note"}
    ids |= {"artifact_path": f"{experiment}/{run}/artifacts/x.txt", "run_uuid": run, "path": "x.txt"}
    ids |= {"metric_key": "m", "organization": "o", "endpoint_id": "e"}
    path = operation.path
    for name, value in ids.items():
        path = path.replace(f"{{{name}}}", value).replace(f"{{{name}:path}}", value)
    assert "{" not in path, f"no id for {path}: a new row of the table needs one in make_work"
    fields = {
        **ids,
        "experiment_ids": [experiment],
        "trace_ids": [trace],
        "request_ids": [trace],
        "run_ids": [run],
        "filter_string": f"name = '{ids['name']}'"
        if "registered-models" in path or "versions" in path
        else "",
        "max_results": 5,
        "value": "v",
        "metrics": [{"key": "k", "value": 1, "timestamp": 1, "step": 1, "model_id": model}],
        "models": [{"model_id": model}],
        "locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}],
        "item_ids": [trace],
        "source": f"runs:/{run}/m",
        "source_run_id": run,
        "new_name": f"renamed-{ids['name']}",
        **start_trace(trace, experiment),
    }
    if operation.name == "artifacts.list":
        fields["path"] = f"{experiment}/{run}/artifacts"
    return path, fields


def send(side: Side, operation: Operation, work: Work) -> Reply:
    path, fields = requested(operation, work)
    if operation.method == "GET":
        query = "&".join(
            f"{name}={value}"
            for name, values in fields.items()
            if not isinstance(values, dict)
            for value in (values if isinstance(values, list) else [values])
            if not isinstance(value, dict)
        )
        return side.call("GET", f"{path}?{query.replace(' ', '%20')}")
    if operation.name == "traces.export-otlp":
        headers = [
            ("Content-Type", "application/x-protobuf"),
            ("x-mlflow-experiment-id", work.ids["experiment_id"]),
            ("x-mlflow-run-id", work.ids["run_id"]),
        ]
        return side.portal.request("POST", f"/api/mlflow{path}", key=side.key, headers=headers, body=b"")
    if operation.method == "PUT":
        return side.call("PUT", path, b"x")
    return side.call(operation.method, path, fields)


def seen(reply: Reply, work: Work) -> tuple[int, bytes, list[tuple[str, str]]]:
    """The response, with a word in place of each id, and without what differs between any two responses."""
    body = REQUEST.sub(b"<request>", reply.body)
    for name, value in sorted(work.ids.items(), key=lambda pair: -len(pair[1])):
        whole = rb"(?<![0-9A-Za-z])" + re.escape(value.encode()) + rb"(?![0-9A-Za-z])"
        body = re.sub(whole, f"<{name}>".encode(), body)
    headers = sorted((name.lower(), value) for name, value in reply.headers.items())
    passing = (*PASSING, "content-length") if reply.status < 300 else PASSING
    return reply.status, body, [(name, value) for name, value in headers if name not in passing]


SERVED = [each for each in OPERATIONS if not each.refused and not each.until and each.name not in APART]
# Creations come last: a new object of one's own may have another's name, and would be found from then on.
ROWS = sorted(SERVED, key=lambda operation: operation.created is not None)


def rows_of(side: Side) -> list[Operation]:
    """The rows that this side's MLflow has: the suite's is not the newest release of the table."""
    version = side.portal.request("GET", "/api/mlflow/version", key=side.key).body.decode()
    release = releases.parse(version)
    assert release is not None, version
    return [each for each in ROWS if release.has(since=each.since)]


def test_no_route_tells_an_id_of_another_organisation_from_one_that_nobody_has(sides):
    ours, theirs = sides
    differing = []
    for operation in rows_of(ours):
        madeup = theirs.work.madeup()
        other = seen(send(ours, operation, theirs.work), theirs.work)
        unknown = seen(send(ours, operation, madeup), madeup)
        assert theirs.marker.encode() not in other[1], operation
        if other[0] < 300 and operation.created:  # one's own new object, whose id and time are its own
            other, unknown = (other[0],), (unknown[0],)  # type: ignore[assignment]
        if other != unknown:
            differing.append((operation.name, operation.method, other, unknown))

    assert differing == [], differing


def test_the_organisation_itself_finds_the_marker_where_it_reads(sides):
    """The positive control: the calls above reach the objects, if they are one's own."""
    _, theirs = sides
    found = set()
    for operation in rows_of(theirs):
        if operation.is_read and theirs.marker.encode() in send(theirs, operation, theirs.work).body:
            found.add(operation.name)

    assert found >= {
        *("experiments.get", "experiments.search", "runs.get", "runs.search", "logged-models.get"),
        *("logged-models.search", "registered-models.get", "registered-models.search", "model-versions.get"),
        *("registered-models.get-by-alias", "artifacts.download", "traces.get-info", "traces.search"),
        *("assessments.get", "datasets.get", "issues.get", "label-schemas.get", "review-queues.get"),
    }


def test_a_session_reads_nothing_of_another_organisation_and_its_own(sessions):
    ours, theirs = sessions
    own = {"experiments.get", "runs.get", "registered-models.get", "model-versions.get", "artifacts.download"}
    for operation in rows_of(ours):
        if operation.is_read:
            assert theirs.marker.encode() not in send(ours, operation, theirs.work).body, operation
        if operation.name in own and operation.method == "GET":  # the positive control
            assert theirs.marker.encode() in send(theirs, operation, theirs.work).body, operation


@pytest.mark.parametrize("by", ["a header", "the address"])
def test_another_organisation_is_not_chosen_and_a_made_up_one_is_refused_alike(sides, by):
    ours, theirs = sides
    replies = []
    for slug in (theirs.slug, other_of_its_form(theirs.slug)):
        mount = f"/api/mlflow/w/{slug}" if by == "the address" else "/api/mlflow"
        headers = [("X-MLFLOW-WORKSPACE", slug)] if by == "a header" else []
        target = f"{mount}{V2}/runs/get?run_id={theirs.work.ids['run_id']}"
        replies.append(ours.portal.request("GET", target, key=ours.key, headers=headers))

    first, second = (seen(reply, theirs.work) for reply in replies)
    assert first == second
    assert first[0] == 403


def test_ones_own_organisation_may_be_stated(sides):
    ours, _ = sides
    target = f"{V2}/runs/get?run_id={ours.work.ids['run_id']}"
    for mount, headers in (
        (f"/api/mlflow/w/{ours.slug}", []),
        ("/api/mlflow", [("X-MLFLOW-WORKSPACE", ours.slug)]),
        ("/api/mlflow", [("X-MLFLOW-WORKSPACE", "")]),
    ):
        assert ours.portal.request("GET", f"{mount}{target}", key=ours.key, headers=headers).status == 200


def test_a_key_of_staff_acts_in_the_organisations_on_its_list(sides):
    _, theirs = sides
    staff = f"staff-{secrets.token_hex(4)}"
    theirs.portal.issue(staff)
    theirs.portal.manage("set_role", staff, "auditor")
    key = theirs.portal.issue(staff, "--also", theirs.slug, "--preset", "reader")["key"]
    target = f"{V2}/runs/get?run_id={theirs.work.ids['run_id']}"

    for mount, headers, status in (
        ("/api/mlflow", [], 404),
        (f"/api/mlflow/w/{theirs.slug}", [], 200),
        ("/api/mlflow", [("X-MLFLOW-WORKSPACE", theirs.slug)], 200),
        (f"/api/mlflow/w/{theirs.slug}", [("X-MLFLOW-WORKSPACE", "shared")], 200),
        (f"/api/mlflow/w/{theirs.slug}", [("X-MLFLOW-WORKSPACE", "elsewhere")], 403),
    ):
        reply = theirs.portal.request("GET", f"{mount}{target}", key=key, headers=headers)
        assert reply.status == status, (mount, headers, reply.body)


def test_an_id_of_another_organisation_is_not_written_into_ones_own_objects(sides):
    ours, theirs = sides
    own = ours.work.ids
    madeup = theirs.work.madeup()

    def bodies(ids: dict[str, str]) -> dict[str, dict]:
        metric = {"key": "k", "value": 1, "timestamp": 1, "step": 1, "model_id": ids["model_id"]}
        return {
            f"{V2}/runs/log-inputs": {"run_id": own["run_id"], "models": [{"model_id": ids["model_id"]}]},
            f"{V2}/runs/outputs": {
                "run_id": own["run_id"],
                "models": [{"model_id": ids["model_id"], "step": 0}],
            },
            f"{V2}/runs/log-metric": {"run_id": own["run_id"], **metric},
            f"{V2}/runs/log-batch": {"run_id": own["run_id"], "metrics": [metric]},
            f"{V2}/logged-models": {
                "experiment_id": own["experiment_id"],
                "name": "m",
                "source_run_id": ids["run_id"],
            },
            f"{V2}/model-versions/create": {
                "name": own["name"],
                "source": f"runs:/{ids['run_id']}/m",
                "run_id": ids["run_id"],
            },
            f"{V3}/issues": {
                "experiment_id": own["experiment_id"],
                "name": "i",
                "description": "d",
                "source_run_id": ids["run_id"],
            },
            f"{V3}/datasets/create": {"name": "d", "experiment_ids": [ids["experiment_id"]]},
            f"{V2}/traces/link-to-run": {"run_id": own["run_id"], "trace_ids": [ids["trace_id"]]},
            f"{V3}/review-queues/items/add": {
                "queue_id": own["queue_id"],
                "item_type": "TRACE",
                "item_ids": [ids["trace_id"]],
            },
        }

    for path, body in bodies(theirs.work.ids).items():
        other = seen(ours.call("POST", path, body), theirs.work)
        unknown = seen(ours.call("POST", path, bodies(madeup.ids)[path]), madeup)
        assert other == unknown, path
        assert other[0] == 404, (path, other)
    for path in (f"{V2}/runs/log-inputs", f"{V2}/runs/log-metric", f"{V2}/logged-models"):
        assert ours.call("POST", path, bodies(own)[path]).status == 200, path


def test_a_trace_id_of_another_organisation_is_refused_as_an_unknown_one_and_names_nobody(sides):
    ours, theirs = sides
    taken = theirs.work.ids["trace_id"]

    reply = ours.call("POST", f"{V3}/traces", start_trace(taken, ours.work.ids["experiment_id"]))

    assert (reply.status, reply.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert reply.json()["message"].startswith(f"Trace with ID '{taken}' not found.")


def test_an_assessment_of_another_organisation_is_not_taken_by_its_id(sides):
    """A request that names an assessment of another organisation creates a new one, and the other stays."""
    ours, theirs = sides
    taken = theirs.work.ids["assessment_id"]
    first, second = (f"tr-{secrets.token_hex(16)}" for _ in range(2))

    def start(trace: str, *assessments: dict) -> int:
        started = start_trace(trace, ours.work.ids["experiment_id"])
        started["trace"]["trace_info"]["assessments"] = list(assessments)
        return ours.call("POST", f"{V3}/traces", started).status

    def create(assessment_id: str) -> int:
        said = {**new_assessment(ours, second), "assessment_id": assessment_id}
        return ours.call("POST", f"{V3}/traces/{second}/assessments", {"assessment": said}).status

    assert start(first, {**new_assessment(ours, first), "assessment_id": taken}) == start(second) == 200
    assert create(taken) == create(other_of_its_form(taken)) == 200
    kept = theirs.call("GET", f"{V3}/traces/{theirs.work.ids['trace_id']}/assessments/{taken}")
    assert theirs.marker.encode() in kept.body
