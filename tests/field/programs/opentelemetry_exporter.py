import os

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

exporter = OTLPSpanExporter(
    endpoint=os.environ["PORTAL_URL"] + "/v1/traces",
    headers={
        "Authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"],
        "x-mlflow-experiment-id": os.environ["EXPERIMENT_ID"],
    },
)
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
with trace.get_tracer("shop").start_as_current_span("checkout") as span:
    span.set_attribute("items", 3)
