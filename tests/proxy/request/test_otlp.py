"""Spans in JSON are read as MLflow reads them."""

import base64
import gzip
import json
import zlib

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from keys.refusals import Refusal
from proxy.request import otlp

TRACE, SPAN = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"
JSON = "application/json"


def exported(*, trace=TRACE, span=SPAN, **more) -> dict:
    """What Node's exporter sends."""
    attribute = {"key": "mlflow.traceTag.team", "value": {"stringValue": "a"}}
    one = {"traceId": trace, "spanId": span, "name": "s", "kind": 1, "attributes": [attribute], **more}
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "gemini-cli"}}]}
    return {
        "resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "x"}, "spans": [one]}]}]
    }


def read(content: object, *, content_type=JSON, encoding="", pack=lambda body: body) -> otlp.Export:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return otlp.read(pack(body), content_type=content_type, encoding=encoding, limit=2**20)


def as_mlflow_reads(content: dict) -> bytes:
    """MLflow (server/otel_api.py) makes base64 of the hexadecimal ids and parses protobuf's JSON."""
    content = json.loads(json.dumps(content))
    for resource in content["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name in ("traceId", "spanId", "parentSpanId"):
                    if span.get(name):
                        span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    return ParseDict(content, ExportTraceServiceRequest(), ignore_unknown_fields=True).SerializeToString()


@pytest.mark.parametrize(
    "content", [exported(), exported(trace=TRACE.upper(), parentSpanId=SPAN, unknown=[1], links=None)]
)
def test_json_names_the_same_traces_and_tags_as_protobuf(content):
    found = read(content)

    assert found == read(as_mlflow_reads(content), content_type="application/x-protobuf")
    assert found.trace_ids == (f"tr-{TRACE}",)
    assert found.tag_keys == {"service.name", "mlflow.traceTag.team", "team"}


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("", lambda body: body)],
)
def test_json_may_be_compressed(encoding, pack):
    assert read(
        exported(), content_type="application/json; charset=utf-8", encoding=encoding, pack=pack
    ).trace_ids


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (exported(trace=base64.b64encode(bytes.fromhex(TRACE)).decode()), "bad_trace_id"),
        (exported(trace=TRACE[2:]), "bad_trace_id"),
        (exported(trace=f"{TRACE[:-2]}  "), "bad_trace_id"),
        (exported(span=""), "bad_trace_id"),
        (exported(span=None), "bad_trace_id"),
        (exported(trace_id="AA=="), "unreadable_body"),
        (exported(attributes={"key": "a"}), "unreadable_body"),
        (exported(attributes=[{"key": 1}]), "unreadable_body"),
        ({"resourceSpans": {}}, "unreadable_body"),
        ({"resource_spans": exported()["resourceSpans"]}, "unreadable_body"),
        ({"resourceSpans": [{"resource": [1]}]}, "unreadable_body"),
        (b'{"resourceSpans": [], "resourceSpans": []}', "unreadable_body"),
        (json.dumps(exported()).encode("utf-16"), "unreadable_body"),
        ([], "unreadable_body"),
    ],
)
def test_json_that_may_be_read_in_two_ways_is_refused(content, reason):
    with pytest.raises(Refusal) as refused:
        read(content)

    assert (refused.value.status, refused.value.reason) == (400, reason)


def test_spans_in_another_format_are_refused():
    with pytest.raises(Refusal, match="neither protobuf nor JSON") as refused:
        read(exported(), content_type="text/plain")

    assert refused.value.reason == "otlp_not_protobuf"


def test_too_many_values_are_refused_before_they_are_parsed():
    many = {"resourceSpans": [{} for _ in range(otlp.MOST_JSON_VALUES // 3 + 1)]}

    with pytest.raises(Refusal) as refused:
        otlp.read(json.dumps(many).encode(), content_type=JSON, encoding="", limit=0)

    assert (refused.value.status, refused.value.reason) == (413, "body_too_complex")


def test_mlflows_protobuf_response_becomes_json():
    response = ExportTraceServiceResponse()
    assert otlp.response_as_json(response.SerializeToString()) == b"{}"

    response.partial_success.rejected_spans = 2
    response.partial_success.error_message = "full"
    assert json.loads(otlp.response_as_json(response.SerializeToString())) == {
        "partialSuccess": {"rejectedSpans": "2", "errorMessage": "full"}
    }
    assert otlp.response_as_json(b"\xff\xff") == b"{}"
