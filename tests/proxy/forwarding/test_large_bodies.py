"""Large bodies: the legitimate ones pass, the others are refused at once, and a worker's memory stays bounded."""

import gzip
import json
import secrets
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import psutil
import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from keys.refusals import Refusal
from proxy.routes.limits import KIB, MIB, VALUES
from proxy.upstream import large_bodies
from proxy.upstream.time_share import TimeShare
from tests.echo import Script
from tests.portals import Portal, Reply
from tests.proxy.forwarding.test_forwarding import GET_EXPERIMENT

pytestmark = pytest.mark.postgresql

RUN = "a" * 32
JSON = ("Content-Type", "application/json")
PROTOBUF = ("Content-Type", "application/x-protobuf")
LOG_BATCH = "/api/2.0/mlflow/runs/log-batch"
START_TRACE = "/api/3.0/mlflow/traces"
MOST_MEMORY = 512 * MIB
CALLERS = 14


def batch(count: int, first: int = 0) -> bytes:
    """Metrics with every field that the stock client sends."""
    metrics = [
        {
            "key": f"validation/loss_{number}",
            "value": 0.123456789 + number,
            "timestamp": 1_790_000_000_000 + number,
            "step": number,
            "model_id": "m-" + "b" * 32,
            "dataset_name": "validation, part: [1]",
            "dataset_digest": "0123abcd",
            "run_id": RUN,
        }
        for number in range(first, first + count)
    ]
    return json.dumps({"run_id": RUN, "metrics": metrics, "params": [], "tags": []}).encode()


def spans(trace_id: bytes, count: int = 5000) -> ExportTraceServiceRequest:
    """Spans with ten attributes each, as MLflow writes them: JSON in text."""
    export = ExportTraceServiceRequest()
    scope = export.resource_spans.add().scope_spans.add()
    for number in range(count):
        span = scope.spans.add(
            trace_id=trace_id,
            span_id=number.to_bytes(8),
            parent_span_id=(number // 2).to_bytes(8),
            name=f"step {number}",
            start_time_unix_nano=10**18,
            end_time_unix_nano=10**18 + number,
        )
        for index in range(10):
            span.attributes.add(key=f"mlflow.attribute{index}").value.string_value = '{"a": [1, 2, "text"]}'
        span.status.code = 1
    return export


def trace(trace_id: bytes, **fields: object) -> dict:
    location = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}
    info = {"trace_id": f"tr-{trace_id.hex()}", "trace_location": location, "state": "OK"}
    return {"trace": {"trace_info": {**info, "request_time": "2026-01-01T00:00:00Z", **fields}}}


def started_trace() -> bytes:
    trace_id = secrets.token_bytes(16)
    content = trace(trace_id)
    content["trace"]["spans"] = MessageToDict(spans(trace_id).resource_spans[0].scope_spans[0])["spans"]
    return json.dumps(content).encode()


def search() -> bytes:
    ids = ", ".join(f"'{number:032x}'" for number in range(500))
    content = {
        "experiment_ids": [str(number) for number in range(200)],
        "filter": f"attributes.run_id IN ({ids}) AND metrics.loss < 0.5 AND params.name = 'a, b = c AND d'",
        "max_results": 50_000,
        "order_by": ["attributes.start_time DESC", "metrics.loss ASC"],
    }
    return json.dumps(content).encode()


def logged_model() -> bytes:
    files = {
        f"artifacts/part-{number:05}.bin": {"path": f"data/{number}", "size": number} for number in range(500)
    }
    model = {"run_id": RUN, "artifact_path": "model", "flavors": {"python_function": {"artifacts": files}}}
    return json.dumps({"run_id": RUN, "model_json": json.dumps(model)}).encode()


def new_spans() -> bytes:
    return spans(secrets.token_bytes(16)).SerializeToString()


# Name: method, path, headers, bodies.
LEGITIMATE = {
    "a batch of 1,000 metrics": lambda: ("POST", LOG_BATCH, [JSON], [batch(1000)]),
    "10,000 metrics in ten batches": lambda: (
        "POST",
        LOG_BATCH,
        [JSON],
        [batch(1000, first) for first in range(0, 10_000, 1000)],
    ),
    "5,000 spans by OTLP": lambda: ("POST", "/v1/traces", [PROTOBUF], [new_spans()]),
    "5,000 spans by OTLP, compressed": lambda: (
        "POST",
        "/v1/traces",
        [PROTOBUF, ("Content-Encoding", "gzip")],
        [gzip.compress(new_spans())],
    ),
    "a trace with 5,000 spans": lambda: ("POST", START_TRACE, [JSON], [started_trace()]),
    "a search over 200 experiments": lambda: ("POST", "/api/2.0/mlflow/runs/search", [JSON], [search()]),
    "a search over all of 5,000 experiments": lambda: (
        "POST",
        "/api/2.0/mlflow/runs/search",
        [JSON],
        [json.dumps({"experiment_ids": [str(100_000 + number) for number in range(5000)]}).encode()],
    ),
    "a model with 500 files": lambda: ("POST", "/api/2.0/mlflow/runs/log-model", [JSON], [logged_model()]),
}


@pytest.mark.parametrize("name", LEGITIMATE)
def test_a_legitimate_large_body_passes_as_it_is(name, echo, echo_portal, echo_key):
    method, path, headers, bodies = LEGITIMATE[name]()
    # An exported trace must be new: MLflow is asked, and knows none.
    echo.script = Script(only="/traces/", status=404, body=b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}')
    headers = [*headers, ("X-MLflow-Experiment-Id", "0")] if path == "/v1/traces" else headers

    for body in bodies:
        reply = echo_portal.request(
            method, f"/api/mlflow{path}", key=echo_key["key"], headers=headers, body=body
        )
        assert reply.status == 200, reply.body[:500]
        assert (echo.last.target, echo.last.length, echo.last.crc) == (path, len(body), zlib.crc32(body))


def call(portal: Portal, key: dict, path: str, body: bytes) -> Reply:
    return portal.request("POST", f"/api/mlflow{path}", key=key["key"], headers=[JSON], body=body)


@pytest.mark.parametrize(
    ("path", "size", "limit"),
    [("/api/2.0/mlflow/runs/search", 64 * 1024 + 1, "65,536"), (LOG_BATCH, 4 * MIB + 1, "4,194,304")],
)
def test_a_body_beyond_its_operations_limit_is_refused_with_the_limit(
    path, size, limit, echo, echo_portal, echo_key
):
    reply = call(echo_portal, echo_key, path, b"{}".ljust(size))

    assert (reply.status, reply.json()["error_code"]) == (413, "RESOURCE_EXHAUSTED")
    assert limit in reply.json()["message"]
    assert reply.headers["Retry-After"] is None
    assert not echo.arriving
    [row] = echo_portal.calls(request_id=reply.headers["X-Request-ID"])
    assert row["reason"] == "body_too_large"


@pytest.mark.parametrize("path", [LOG_BATCH, "/api/2.0/mlflow/runs/search"])
def test_a_body_of_very_many_small_values_is_refused(path, echo, echo_portal, echo_key):
    body = b'{"experiment_ids": [' + b",".join([b"1"] * (30_000 if "search" in path else 50_000)) + b"]}"

    reply = call(echo_portal, echo_key, path, body)

    assert (reply.status, reply.json()["message"].count("takes 5,000")) == (
        (400, 1) if "search" in path else (413, 0)
    )
    assert not echo.arriving


def test_a_search_for_too_much_is_refused_wherever_the_fields_are(echo, echo_portal, echo_key):
    ids = "&".join(["run_id=a"] * 1001)
    for reply in (
        echo_portal.request(
            "GET", f"/api/mlflow/ajax-api/2.0/mlflow/metrics/get-history-bulk?{ids}", key=echo_key["key"]
        ),
        call(echo_portal, echo_key, "/api/2.0/mlflow/runs/search", b'{"orderBy": ["a"%b]}' % (b', "a"' * 20)),
        call(
            echo_portal, echo_key, "/api/2.0/mlflow/runs/search", b'{"filter": "%b"}' % (b"a = 1 AND " * 51)
        ),
    ):
        assert (reply.status, reply.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert not echo.arriving


@contextmanager
def watched_memory(portal: Portal):
    """The largest memory of a worker meanwhile, in bytes, as the only item of a list."""
    largest, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            for worker in psutil.Process(portal.process.pid).children(recursive=True):
                try:
                    largest[0] = max(largest[0], worker.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield largest
    finally:
        ended.set()
        watcher.join()


def small_values(count: int, size: int) -> bytes:
    """A trace whose tags are `count` small values, filled up to `size` bytes."""
    tags = {f"{number:x}": "" for number in range(count)}
    content = trace(secrets.token_bytes(16), tags=tags, request_preview="\N{GRINNING FACE}")
    body = json.dumps(content, ensure_ascii=False).encode()
    return body[:-1] + b', "unknown": "' + b"x" * max(0, size - len(body) - 15) + b'"}'


def test_the_memory_of_a_worker_stays_bounded_whatever_its_callers_send(echo, echo_portal, echo_key):
    """The largest accepted ones, larger ones, and small calls at the same time."""
    echo.script = Script(status=404, body=b"{}")
    accepted = [small_values(250_000, 8 * MIB) for _ in range(2)]
    refused = b'{"metrics": [' + b",".join([b"[]"] * (4 * MIB // 3 - 10)) + b"]}"
    plans = [(START_TRACE, body) for body in accepted] + [(LOG_BATCH, refused)] * (CALLERS - 2)

    with watched_memory(echo_portal) as largest, ThreadPoolExecutor(CALLERS) as pool:
        replies = list(pool.map(lambda plan: call(echo_portal, echo_key, *plan).status, plans))

    print(f"largest worker: {largest[0] / MIB:.0f} MiB")
    assert set(replies) <= {404, 413, 429}
    assert {404, 413} <= set(replies)
    assert largest[0] < MOST_MEMORY
    echo.script = None
    assert echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"]).status == 200


def test_one_large_body_is_parsed_at_a_time_and_the_next_is_refused_when_it_has_waited(monkeypatch):
    monkeypatch.setattr(large_bodies.PARSED, "longest_wait", 0.2)
    with large_bodies.parse("alice", 100_000):
        with large_bodies.parse("bob", 1000):
            pass
        started = time.monotonic()
        with pytest.raises(Refusal) as refused, large_bodies.parse("bob", 100_000):
            pass
        assert time.monotonic() - started >= 0.2

    assert (refused.value.status, refused.value.reason) == (429, "large_bodies_busy")
    assert "not sent" in refused.value.message
    with large_bodies.parse("bob", 100_000):
        pass


def test_few_large_bodies_are_in_memory_and_a_user_cannot_take_all_the_room(monkeypatch):
    monkeypatch.setattr(large_bodies.HELD_LARGEST, "longest_wait", 0.2)
    with large_bodies.hold("alice", 5 * MIB), large_bodies.hold("bob", 5 * MIB):
        with pytest.raises(Refusal), large_bodies.hold("carol", 5 * MIB):
            pass
        with large_bodies.hold("carol", MIB), large_bodies.hold("carol", 1000):
            pass


@pytest.mark.parametrize(("size", "most"), [(300 * KIB, 4), (5 * MIB, 1)])
def test_a_slow_sender_leaves_half_of_the_places_although_nobody_else_was_there(size, most, monkeypatch):
    for queue in (large_bodies.HELD, large_bodies.HELD_LARGEST):
        monkeypatch.setattr(queue, "longest_wait", 0.05)
        monkeypatch.setattr(queue, "share", TimeShare())
    with ExitStack() as stack:
        for _ in range(most):
            stack.enter_context(large_bodies.hold("bob", size))
        with pytest.raises(Refusal):
            stack.enter_context(large_bodies.hold("bob", size))
        stack.enter_context(large_bodies.hold("alice", size))


def test_the_limits_add_up():
    assert sum(map(batch(1000).count, (b"[", b"]", b"{", b"}", b",", b":"))) <= VALUES
