"""OpenTelemetry's trace export (OTLP over HTTP): which traces and tags it writes. Pure.

https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

import zlib
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from keys.refusals import Refusal, invalid

TAG_PREFIX = "mlflow.traceTag."


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
        request.ParseFromString(unpacked(body, encoding, limit))
    except (DecodeError, zlib.error) as error:
        raise invalid("unreadable_body", "The spans cannot be read as OTLP protobuf.") from error
    trace_ids: dict[str, None] = {}
    keys: set[str] = set()
    for resource_spans in request.resource_spans:
        keys |= {attribute.key for attribute in resource_spans.resource.attributes}
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                trace_ids[f"tr-{span.trace_id.hex()}"] = None
                keys |= {attribute.key for attribute in span.attributes}
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
