"""Traces and spans: their ids are the client's choice, and nobody's choice is another's."""

import gzip
import secrets
import threading
import time

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from proxy.request.otlp import MOST_FIELDS
from tests.end_to_end.conftest import Person
from tests.end_to_end.sides import start_trace
from tests.experiments import created_by

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]


def test_an_existing_trace_is_not_taken_by_its_id(bob, work):
    reply = bob.call("POST", "/api/3.0/mlflow/traces", start_trace(work.trace, created_by(bob.call)))

    assert reply.status == 403
    assert "belongs to alice" in reply.json()["message"]


def test_a_trace_made_around_the_portal_is_nobodys_and_not_for_the_taking(bob, mlflow_server):
    trace = f"tr-{secrets.token_hex(16)}"
    experiment = created_by(bob.call)
    around = requests.post(
        f"{mlflow_server.url}/api/3.0/mlflow/traces",
        json=start_trace(trace, experiment),
        headers={"X-MLFLOW-WORKSPACE": "shared"},
        timeout=30,
    )
    assert around.status_code == 200

    reply = bob.call("POST", "/api/3.0/mlflow/traces", start_trace(trace, experiment))

    assert reply.status == 403
    assert "belongs to nobody" in reply.json()["message"]


def test_ones_own_trace_does_not_cover_the_deletion_of_anothers(bob, alice, work):
    """MLflow's parser stops at a number out of range, forgets the ids behind it, and deletes by time."""
    mine = f"tr-{secrets.token_hex(16)}"
    assert bob.call("POST", "/api/3.0/mlflow/traces", start_trace(mine, created_by(bob.call))).status == 200
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


def many_messages(count: int) -> bytes:
    request = ExportTraceServiceRequest()
    request.resource_spans.extend([ResourceSpans()] * count)
    return request.SerializeToString()


experiments: dict[str, str] = {}  # of each key


def send_spans(person: Person, body: bytes, **headers: str):
    key = person.issued["id"]
    experiment = experiments[key] = experiments.get(key) or created_by(person.call)
    sent = {"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": experiment} | headers
    return person.portal.request(
        "POST", "/api/mlflow/v1/traces", key=person.issued["key"], headers=list(sent.items()), body=body
    )


@pytest.mark.parametrize("padding", [b"", b"\0", b"\0" * 300])
def test_spans_are_not_added_to_anothers_trace_also_not_by_a_padded_id(padding, bob, alice, work):
    reply = send_spans(bob, export(padding + bytes.fromhex(work.trace[3:])))

    assert reply.status in (400, 403), reply.body


@pytest.mark.parametrize(
    "key", ["mlflow.artifactLocation", "mlflow.trace.archiveLocation", "hokusai.user_id", "mlflow.user"]
)
def test_spans_do_not_set_tags_that_are_mlflows_or_the_portals(key, bob):
    reply = send_spans(bob, export(secrets.token_bytes(16), **{f"mlflow.traceTag.{key}": "file:///nowhere"}))

    assert (reply.status, reply.json()["error_code"]) == (403, "PERMISSION_DENIED")


def test_spans_of_ones_own_are_taken_packed_or_not(bob):
    trace = secrets.token_bytes(16)

    assert send_spans(bob, export(trace)).status == 200
    assert (
        send_spans(bob, gzip.compress(export(trace, spans=3)), **{"Content-Encoding": "gzip"}).status == 200
    )
    assert bob.call("GET", f"/api/3.0/mlflow/traces/tr-{trace.hex()}").status == 200


@pytest.mark.parametrize(
    "unpacked",  # made by the test: every process of a run loads this file
    [
        lambda: many_messages(10 * MOST_FIELDS),
        lambda: bytes(200 * 2**20),
        lambda: export(*[secrets.token_bytes(16) for _ in range(600)]),
    ],
    ids=["empty messages", "a bomb", "too many traces"],
)
def test_a_small_export_that_unpacks_to_much_is_refused_at_once(unpacked, bob):
    body = gzip.compress(unpacked())
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
    body = start_trace(trace_id or "", created_by(bob.call))
    if trace_id is None:
        del body["trace"]["trace_info"]["trace_id"]

    assert bob.call("POST", "/api/3.0/mlflow/traces", body).status == 400
