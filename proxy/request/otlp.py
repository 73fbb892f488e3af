"""Reads OpenTelemetry's trace export (OTLP over HTTP): the traces and tags that it writes. Pure.

https://opentelemetry.io/docs/specs/otlp/#otlphttp. protobuf is imported with the first export: many portals get none.
"""

import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from keys.refusals import Refusal, invalid
from proxy.request import messages
from proxy.request.messages import Json

TAG_PREFIX = "mlflow.traceTag."
TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8
MOST_TRACES = 512  # in one export; OpenTelemetry's processors send at most that many spans at once
# An empty message takes far more memory than bytes in the body. 5,000 spans with ten attributes have 250,000 fields.
MOST_FIELDS = 400_000
MOST_JSON_VALUES = 600_000  # brackets, commas and colons: the same in JSON, see `proxy.routes.limits`
JSON_TRACE_ID, JSON_SPAN_ID = re.compile("[0-9a-fA-F]{32}"), re.compile("[0-9a-fA-F]{16}")
UNCOUNTED = 1024 * 1024  # bytes; a field has at least two


@dataclass(frozen=True, kw_only=True)
class Export:
    """The traces (`tr-` and 32 hexadecimal digits) and the keys of tags that an export writes. `suspicious`: the spans
    as JSON if one of them may contain an API key, else {}."""

    trace_ids: tuple[str, ...]
    tag_keys: frozenset[str]
    suspicious: Mapping[str, Any] = field(default_factory=dict)


def read(body: bytes, *, content_type: str, encoding: str, limit: int) -> Export:
    """The traces and tags of an export. Raises Refusal (400, 413) if they cannot be read unambiguously; the limit of
    `limit` bytes (0: none) also applies to the decompressed body."""
    if not (is_protobuf(content_type) or is_json(content_type)):
        raise invalid(
            "otlp_not_protobuf",
            "The spans are neither protobuf nor JSON. Set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf.",
        )
    from google.protobuf.message import DecodeError

    reader = read_json if is_json(content_type) else read_protobuf
    try:
        content = decompress(body, encoding, limit)
        trace_ids, keys, spans = reader(content)
    except (DecodeError, IndexError, zlib.error) as error:
        raise invalid(
            "unreadable_body", "The body is not an OTLP export. Send an ExportTraceServiceRequest."
        ) from error
    if len(trace_ids) > MOST_TRACES:
        raise too_many(f"{MOST_TRACES} traces")
    return Export(
        trace_ids=tuple(trace_ids),
        tag_keys=frozenset(
            keys | {key.removeprefix(TAG_PREFIX) for key in keys if key.startswith(TAG_PREFIX)}
        ),
        suspicious=spans() if b"hk_" in content or b"\\u" in content else {},  # JSON may escape any letter
    )


def read_protobuf(content: bytes) -> tuple[dict[str, None], set[str], Callable[[], Json]]:
    """The traces, in order, the keys of attributes, and the spans as JSON."""
    from google.protobuf.json_format import MessageToDict
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    refuse_many(content)
    request = ExportTraceServiceRequest()
    request.ParseFromString(content)
    trace_ids: dict[str, None] = {}
    keys: set[str] = set()
    for resource_spans in request.resource_spans:
        keys |= {attribute.key for attribute in resource_spans.resource.attributes}
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                # MLflow reads an id as a number: ids of other lengths could name another trace.
                if len(span.trace_id) != TRACE_ID_BYTES or len(span.span_id) != SPAN_ID_BYTES:
                    raise bad_ids()
                trace_ids[f"tr-{span.trace_id.hex()}"] = None
                keys |= {attribute.key for attribute in span.attributes}
    return trace_ids, keys, lambda: MessageToDict(request)


def read_json(content: bytes) -> tuple[dict[str, None], set[str], Callable[[], Json]]:
    """The same from JSON, whose ids are hexadecimal (opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding)."""
    trace_ids: dict[str, None] = {}
    keys: set[str] = set()
    export = messages.decode(content, most=MOST_JSON_VALUES)
    for resource_spans in objects(export, "resourceSpans"):
        resource = resource_spans.get("resource") or {}
        if not isinstance(resource, dict):
            raise invalid("unreadable_body", "“resource” is not an object. Send OTLP's JSON.")
        keys |= attribute_keys(resource)
        for scope_spans in objects(resource_spans, "scopeSpans"):
            for span in objects(scope_spans, "spans"):
                refuse_other_names(span, "traceId", "spanId")
                ids = str(span.get("traceId")), str(span.get("spanId"))
                if not (JSON_TRACE_ID.fullmatch(ids[0]) and JSON_SPAN_ID.fullmatch(ids[1])):
                    raise bad_ids()
                trace_ids[f"tr-{ids[0].lower()}"] = None
                keys |= attribute_keys(span)
    return trace_ids, keys, lambda: export


def objects(holder: Json, name: str) -> list[Json]:
    """The list of objects under this name; [] if it is missing or null, as protobuf reads it."""
    refuse_other_names(holder, name)
    items = holder.get(name)
    if items is None:
        return []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise invalid("unreadable_body", f"“{name}” is not a list of objects. Send OTLP's JSON.")
    return items


def attribute_keys(holder: Json) -> set[str]:
    keys = [attribute.get("key", "") for attribute in objects(holder, "attributes")]
    if not all(isinstance(key, str) for key in keys):
        raise invalid("unreadable_body", "The key of an attribute is not text. Send OTLP's JSON.")
    return set(keys)


def refuse_other_names(holder: Json, *names: str) -> None:
    """Raise Refusal (400) for a field in snake_case: MLflow reads it too, but its ids in another encoding."""
    for name in names:
        other = re.sub("[A-Z]", lambda match: f"_{match[0].lower()}", name)
        if other != name and other in holder:
            raise invalid("unreadable_body", f"Send “{name}” in place of “{other}”, as OTLP's JSON names it.")


def bad_ids() -> Refusal:
    return invalid(
        "bad_trace_id",
        "A span's ids have the wrong length. Send a trace id of 16 bytes and a span id of 8 (OTLP), in JSON as 32 and "
        "16 hexadecimal digits.",
    )


def media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def is_protobuf(content_type: str) -> bool:
    return media_type(content_type) == "application/x-protobuf"


def is_json(content_type: str) -> bool:
    return media_type(content_type) == "application/json"


def response_as_json(content: bytes) -> bytes:
    """MLflow's response to an export, which may state a partial success, for an exporter that sent JSON."""
    from google.protobuf.json_format import MessageToDict
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    response = ExportTraceServiceResponse()
    try:
        response.ParseFromString(content)
    except DecodeError:
        return b"{}"
    return json.dumps(MessageToDict(response)).encode()


def is_compressed(headers: Mapping[str, str]) -> bool:
    return headers.get("content-encoding", "").strip().lower() not in ("", "identity")


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip":
            decompressor = zlib.decompressobj(zlib.MAX_WBITS | 16)
        case "deflate":
            decompressor = zlib.decompressobj()
        case _:
            raise invalid("unreadable_body", "The Content-Encoding is unknown. Use gzip or deflate, or none.")
    content = decompressor.decompress(body, limit)
    if decompressor.unconsumed_tail:
        raise Refusal(
            status=413,
            error_code="RESOURCE_EXHAUSTED",
            reason="body_too_large",
            message=f"The spans are larger than this registry accepts in one call ({limit:,} bytes decompressed). "
            "Export smaller batches (OTEL_BSP_MAX_EXPORT_BATCH_SIZE).",
        )
    if not decompressor.eof or decompressor.unused_data:
        raise invalid(
            "unreadable_body", "The compressed body is incomplete, or followed by other bytes. Send it again."
        )
    return content


@cache
def message_fields(descriptor: Any) -> Mapping[int, Any]:
    """The fields of a message that hold messages: their numbers to the descriptors."""
    return {each.number: each.message_type for each in descriptor.fields if each.message_type}


def refuse_many(content: bytes) -> None:
    """Raise Refusal (413) for more fields than a real export has, before they are parsed.

    Walks protobuf's wire format (protobuf.dev/programming-guides/encoding).
    """
    if len(content) <= UNCOUNTED:
        return
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    count = 0
    waiting: list[tuple[int, int, Any]] = [(0, len(content), ExportTraceServiceRequest.DESCRIPTOR)]
    while waiting:
        position, end, descriptor = waiting.pop()
        messages = message_fields(descriptor)
        while position < end:
            count += 1
            if count > MOST_FIELDS:
                raise too_many(f"{MOST_FIELDS:,} fields")
            key, position = varint(content, position)
            number, wire_type = key >> 3, key & 7
            if wire_type == 0:
                _, position = varint(content, position)
            elif wire_type == 2:
                length, position = varint(content, position)
                if number in messages:
                    waiting.append((position, min(position + length, end), messages[number]))
                position += length
            elif wire_type in (1, 5):
                position += 8 if wire_type == 1 else 4
            else:
                return  # groups are not part of OTLP; the parser refuses them


def varint(content: bytes, position: int) -> tuple[int, int]:
    """A base-128 number and the position after it; raises IndexError beyond the content's end."""
    value = shift = 0
    while True:
        byte = content[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80 or shift > 63:
            return value, position
        shift += 7


def too_many(what: str) -> Refusal:
    return Refusal(
        status=413,
        error_code="RESOURCE_EXHAUSTED",
        reason="too_many_spans",
        message=f"The export contains more than {what}. Export smaller batches (OTEL_BSP_MAX_EXPORT_BATCH_SIZE).",
    )
