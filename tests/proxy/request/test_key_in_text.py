"""A key in text that others can read is refused, and the field is named."""

import json

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from keys.credentials import tokens
from keys.refusals import Refusal
from proxy.request import key_in_text, otlp

KEY = tokens.generate().secret
TYPO = KEY[:-1] + ("a" if KEY[-1] != "a" else "b")


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ({"run_id": "1", "key": "cmd", "value": f"--token {KEY}"}, "“value” of “cmd”"),
        (
            {"params": [{"key": "a", "value": "b"}, {"key": "env", "value": KEY}]},
            "“params[1].value” of “env”",
        ),
        ({"tags": [{"key": KEY, "value": "b"}]}, "“tags[0].key” contains"),
        ({"name": "m", "description": f"use\n{KEY}\n"}, "“description” contains"),
        ({"tags": json.dumps([{"key": "a", "value": KEY}])}, "“tags” contains"),
        ({"trace": {"trace_info": {"tags": {KEY: "x"}}}}, "“trace.trace_info.tags, a name in it”"),
    ],
)
def test_the_refusal_names_the_field_and_not_the_key(content, where):
    with pytest.raises(Refusal) as refused:
        key_in_text.refuse(content)

    assert (refused.value.status, refused.value.reason) == (400, "key_in_text")
    assert where in refused.value.message
    assert KEY[12:34] not in refused.value.message


@pytest.mark.parametrize(
    "text", [TYPO, KEY[:30], "hk_live_…", "", "hk_" * 50], ids=["typo", "half", "dots", "nothing", "starts"]
)
def test_what_only_looks_like_a_key_passes(text):
    key_in_text.refuse({"tags": [{"key": "a", "value": text}], "step": 1, "nothing": None})


def test_a_key_in_a_spans_attribute_is_found():
    export = ExportTraceServiceRequest()
    span = export.resource_spans.add().scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    attribute = span.attributes.add(key="http.header")
    attribute.value.array_value.values.add(string_value=f"Bearer {KEY}")
    read = otlp.read(
        export.SerializeToString(), content_type="application/x-protobuf", encoding="", limit=10**6
    )

    with pytest.raises(Refusal, match=r"of “http\.header” contains"):
        key_in_text.refuse(read.suspicious)


@pytest.mark.postgresql
def test_nothing_with_a_key_arrives_at_mlflow(echo, echo_portal, echo_key):
    escaped = KEY.replace("_", "\\u005f")
    for body in (f'{{"name": "x", "tags": [{{"key": "a", "value": "{text}"}}]}}' for text in (KEY, escaped)):
        reply = echo_portal.request(
            "POST", "/api/mlflow/api/2.0/mlflow/experiments/create", key=echo_key["key"], body=body.encode()
        )
        assert (reply.status, "'tags[0].value' of 'a'" in reply.json()["message"]) == (400, True)
    assert not echo.arriving
