"""Reads OpenTelemetry's trace export (OTLP over HTTP): the traces and tags that it writes. Pure.

https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from keys.refusals import Refusal, invalid

TAG_PREFIX = "mlflow.traceTag."
TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8
MOST_TRACES = 512  # in one export; OpenTelemetry's processors send at most that many spans at once
# An empty message takes far more memory than bytes in the body. 5,000 spans with ten attributes have 250,000 fields.
MOST_FIELDS = 400_000
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
    if content_type.partition(";")[0].strip().lower() != "application/x-protobuf":
        raise invalid(
            "otlp_not_protobuf",
            "The spans are not protobuf. Set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf.",
        )
    request = ExportTraceServiceRequest()
    try:
        content = decompress(body, encoding, limit)
        refuse_many(content)
        request.ParseFromString(content)
    except (DecodeError, IndexError, zlib.error) as error:
        raise invalid(
            "unreadable_body", "The body is not OTLP protobuf. Send an ExportTraceServiceRequest."
        ) from error
    trace_ids: dict[str, None] = {}
    keys: set[str] = set()
    for resource_spans in request.resource_spans:
        keys |= {attribute.key for attribute in resource_spans.resource.attributes}
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                # MLflow reads an id as a number: ids of other lengths could name another trace.
                if len(span.trace_id) != TRACE_ID_BYTES or len(span.span_id) != SPAN_ID_BYTES:
                    raise invalid(
                        "bad_trace_id",
                        "A span's ids have the wrong length. Send a trace id of 16 bytes and a span id of 8 (OTLP).",
                    )
                trace_ids[f"tr-{span.trace_id.hex()}"] = None
                keys |= {attribute.key for attribute in span.attributes}
    if len(trace_ids) > MOST_TRACES:
        raise too_many(f"{MOST_TRACES} traces")
    return Export(
        trace_ids=tuple(trace_ids),
        tag_keys=frozenset(
            keys | {key.removeprefix(TAG_PREFIX) for key in keys if key.startswith(TAG_PREFIX)}
        ),
        suspicious=MessageToDict(request) if b"hk_" in content else {},
    )


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
