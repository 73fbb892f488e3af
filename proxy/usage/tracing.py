"""The portal's own spans, sent by OTLP over HTTP as OpenTelemetry's environment variables configure.

Off unless OTEL_EXPORTER_OTLP_ENDPOINT is set; the extra `telemetry` installs the libraries. A call is one span, which
continues the caller's trace; the request to MLflow is another, which MLflow's own spans may continue.
"""

import atexit
import contextlib
import importlib.util
import os
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the server's parent process imports this before the models exist
    from proxy.usage.recording import CallInProgress

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
LIBRARIES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
SERVICE = "hokusai-registry-portal"
FLUSH_SECONDS = 2.0

_starting = threading.Lock()
_provider: Any = None
_tracer: Any = None


def is_wanted() -> bool:
    return any(os.environ.get(name) for name in ENDPOINTS) and (
        os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"
        and os.environ.get("OTEL_TRACES_EXPORTER", "otlp") != "none"
    )


def is_installed() -> bool:
    try:
        return all(importlib.util.find_spec(name) for name in LIBRARIES)
    except ImportError:
        return False


def start() -> None:
    """Start sending this process's spans. Called once, after the fork."""
    global _provider, _tracer
    if not is_wanted():
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    with _starting:
        if _tracer is None:
            name = os.environ.get("OTEL_SERVICE_NAME", SERVICE)
            resource = Resource.create({"service.name": name})
            _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
            atexit.register(flush)
            _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
            _tracer = _provider.get_tracer(SERVICE)


def flush() -> None:
    """Send the remaining spans before the process ends. Waits at most FLUSH_SECONDS for an unreachable collector."""
    if _provider is not None:
        sender = threading.Thread(target=_provider.force_flush, daemon=True)
        sender.start()
        sender.join(FLUSH_SECONDS)


def begin(call: "CallInProgress", meta: Mapping[str, Any]) -> None:
    """Start the call's span, in the trace that the caller's `traceparent` names."""
    if _tracer is None:
        return
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {name: meta.get(f"HTTP_{name.upper()}", "") for name in ("traceparent", "tracestate")}
    call.span = _tracer.start_span(
        call.method[:16],
        context=TraceContextTextMapPropagator().extract(carrier),
        kind=SpanKind.SERVER,
        start_time=int(call.at.timestamp() * 1e9),
    )


def upstream(call: "CallInProgress", headers: dict[str, str]) -> contextlib.AbstractContextManager[None]:
    """Span of the request to MLflow, until its response begins. Sets `headers` for MLflow to name this span."""
    return contextlib.nullcontext() if call.span is None else upstream_span(call, headers)


@contextlib.contextmanager
def upstream_span(call: "CallInProgress", headers: dict[str, str]) -> Iterator[None]:
    from opentelemetry.trace import SpanKind, set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    with _tracer.start_as_current_span(
        call.operation,
        context=set_span_in_context(call.span),
        kind=SpanKind.CLIENT,
        record_exception=False,
    ) as span:
        for name in [name for name in headers if name.lower() in ("traceparent", "tracestate")]:
            del headers[name]
        TraceContextTextMapPropagator().inject(headers, context=set_span_in_context(span))
        yield


def end(call: "CallInProgress") -> None:
    """End the call's span. It contains what the usage log contains: no path, header or body."""
    span, call.span = call.span, None
    if span is None:
        return
    from opentelemetry.trace import StatusCode

    caller = call.caller
    about = {
        "http.request.method": call.method[:16],
        "http.response.status_code": call.status,
        "http.request.body.size": call.bytes_in,
        "http.response.body.size": call.bytes_out,
        "client.address": call.address,
        "hokusai.operation": call.operation,
        "hokusai.request_id": call.request_id,
        "hokusai.reason": call.reason,
        "hokusai.key_id": caller.key_id if caller else "",
        "hokusai.user_id": caller.user.public_id if caller else "",
    }
    span.update_name(call.operation or f"{call.method[:16]} refused")
    span.set_attributes({name: value for name, value in about.items() if value != ""})
    if call.status >= 500:
        span.set_status(StatusCode.ERROR, call.reason)
    span.end()
