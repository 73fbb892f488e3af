"""Spans as a collector gets them over HTTP: a call is one, MLflow's part another, and no secret is in either."""

import gzip
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from portal.checks import check_settings
from tests.portals import portal, wait_for
from tests.proxy.forwarding.test_forwarding import GET_EXPERIMENT

pytestmark = pytest.mark.postgresql

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP on a free port of loopback, and keeps the spans."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.spans: list[Span] = []
        self.bodies: list[bytes] = []
        self.services: set[str] = set()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def take(self, body: bytes) -> None:
        self.bodies.append(body)
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {pair.key: pair.value.string_value for pair in group.resource.attributes}
            self.services.add(names["service.name"])
            for scope in group.scope_spans:
                self.spans += scope.spans


class Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.take(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def collector():
    server = Collector()
    yield server
    server.shutdown()
    server.server_close()


def attributes(span: Span) -> dict[str, object]:
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes}


def test_a_call_continues_the_callers_trace_and_mlflow_may_continue_ours(collector, echo, echo_portal):
    issued = echo_portal.issue("traced")
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    with portal(mlflow_url=echo.url, database=echo_portal.database, **settings) as running:
        caller = [("traceparent", f"00-{TRACE}-{PARENT}-01"), ("tracestate", "vendor=1")]
        reply = running.request("GET", GET_EXPERIMENT, key=issued["key"], headers=caller)
        running.request("GET", GET_EXPERIMENT, headers=[("X-API-Key", issued["key"] + "x")])
        running.request("GET", f"/api/mlflow/{issued['key']}", key=issued["key"])
        assert wait_for(lambda: len(collector.spans) == 4, seconds=5), collector.spans

    server, client = sorted(
        (span for span in collector.spans if span.trace_id.hex() == TRACE), key=lambda span: span.kind
    )
    assert (server.kind, client.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    assert (server.name, client.name) == ("experiments.get", "experiments.get")
    assert (server.parent_span_id.hex(), client.parent_span_id) == (PARENT, server.span_id)
    assert echo.received[0].values("traceparent") == [f"00-{TRACE}-{client.span_id.hex()}-01"]
    assert echo.received[0].values("tracestate") == ["vendor=1"]
    assert server.start_time_unix_nano <= client.start_time_unix_nano < client.end_time_unix_nano
    assert client.end_time_unix_nano <= server.end_time_unix_nano
    assert attributes(server) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.request.body.size": 0,
        "http.response.body.size": len(reply.body),
        "client.address": "127.0.0.1",
        "hokusai.operation": "experiments.get",
        "hokusai.request_id": reply.headers["X-Request-ID"],
        "hokusai.key_id": issued["id"],
        "hokusai.user_id": issued["user_id"],
    }
    reasons = {attributes(span).get("hokusai.reason") for span in collector.spans}
    assert {"malformed_key", "not_a_route"} <= reasons
    assert collector.services == {"hokusai-registry-portal"}
    assert not any(issued["key"][8:].encode() in body for body in collector.bodies)


def test_without_a_collector_the_callers_trace_passes_as_it_came(echo, echo_portal, echo_key):
    sent = f"00-{TRACE}-{PARENT}-01"
    echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"], headers=[("traceparent", sent)])

    assert echo.last.values("traceparent") == [sent]


def test_a_collector_that_is_away_disturbs_no_call(echo, echo_portal):
    key = echo_portal.issue("traced")["key"]
    away = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "20"}
    with portal(mlflow_url=echo.url, database=echo_portal.database, **away) as running:
        assert {running.request("GET", GET_EXPERIMENT, key=key).status for _ in range(10)} == {200}


def test_without_the_libraries_a_wish_for_spans_stops_the_start(monkeypatch):
    before = check_settings()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    assert check_settings() == before
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    [message] = [message for message in check_settings() if message not in before]

    assert message.is_serious()
    assert "telemetry" in message.msg
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert check_settings() == before
