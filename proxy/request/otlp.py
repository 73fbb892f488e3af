"""OpenTelemetry's trace export (OTLP over HTTP): which traces and tags it writes. Pure.

https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

import zlib
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from keys.refusals import Refusal, invalid

TAG_PREFIX = "mlflow.traceTag."
TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8
MOST_TRACES = 512  # in one export; OpenTelemetry's processors send at most so many spans at once
MOST_FIELDS = 200_000  # of messages that are unpacked: an empty one takes 2 bytes here and 60 in memory
SPANS = (1, 2, 2)  # ExportTraceServiceRequest.resource_spans, .scope_spans, .spans


@dataclass(frozen=True, kw_only=True)
class Export:
    """The traces (`tr-` and 32 hexadecimal digits) and the keys of tags that an export writes."""

    trace_ids: tuple[str, ...]
    tag_keys: frozenset[str]


def read(body: bytes, *, content_type: str, encoding: str, limit: int) -> Export:
    """What the export writes. Raises Refusal (400, 413) for what cannot be read for certain; `limit` bytes
    (0: none) holds for the body unpacked too."""
    if content_type.partition(";")[0].strip().lower() != "application/x-protobuf":
        raise invalid(
            "otlp_not_protobuf",
            "Spans are taken as protobuf here: set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf.",
        )
    request = ExportTraceServiceRequest()
    try:
        content = unpacked(body, encoding, limit)
        refuse_many(content)
        request.ParseFromString(content)
    except (DecodeError, IndexError, zlib.error) as error:
        raise invalid("unreadable_body", "The spans cannot be read as OTLP protobuf.") from error
    trace_ids: dict[str, None] = {}
    keys: set[str] = set()
    for resource_spans in request.resource_spans:
        keys |= {attribute.key for attribute in resource_spans.resource.attributes}
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                # MLflow reads an id as a number, so that a padded one would be another's.
                if len(span.trace_id) != TRACE_ID_BYTES or len(span.span_id) != SPAN_ID_BYTES:
                    raise invalid("bad_trace_id", "A span's trace id has 16 bytes and its own id 8 (OTLP).")
                trace_ids[f"tr-{span.trace_id.hex()}"] = None
                keys |= {attribute.key for attribute in span.attributes}
    if len(trace_ids) > MOST_TRACES:
        raise too_many(f"{MOST_TRACES} traces")
    return Export(
        trace_ids=tuple(trace_ids),
        tag_keys=frozenset(
            keys | {key.removeprefix(TAG_PREFIX) for key in keys if key.startswith(TAG_PREFIX)}
        ),
    )


def unpacked(body: bytes, encoding: str, limit: int) -> bytes:
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip":
            unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        case "deflate":
            unpacker = zlib.decompressobj()
        case _:
            raise invalid("unreadable_body", "Spans may be packed with gzip or deflate only.")
    content = unpacker.decompress(body, limit)
    if unpacker.unconsumed_tail:
        raise Refusal(
            status=413,
            error_code="RESOURCE_EXHAUSTED",
            reason="body_too_large",
            message=f"The spans are larger than this registry takes in one call ({limit:,} bytes unpacked).",
        )
    if not unpacker.eof or unpacker.unused_data:
        raise invalid("unreadable_body", "The packed spans do not end where their packing says.")
    return content


def refuse_many(content: bytes) -> None:
    """Raise Refusal (400) for more fields than an honest export has, before they are unpacked.

    Walks protobuf's wire format (protobuf.dev/programming-guides/encoding) down to the spans' fields.
    """
    count = 0
    waiting: list[tuple[int, int, tuple[int, ...]]] = [(0, len(content), SPANS)]
    while waiting:
        position, end, path = waiting.pop()
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
                if path and number == path[0]:
                    waiting.append((position, min(position + length, end), path[1:]))
                position += length
            elif wire_type in (1, 5):
                position += 8 if wire_type == 1 else 4
            else:
                return  # groups are no part of OTLP; the parser will say so


def varint(content: bytes, position: int) -> tuple[int, int]:
    """A base-128 number and where it ends; IndexError behind the content's end."""
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
        message=f"One export holds more than {what}. Export smaller batches (OTEL_BSP_MAX_EXPORT_BATCH_SIZE).",
    )
