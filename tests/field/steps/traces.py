"""Steps on traces and on the assessments of traces."""

import mlflow
from frame import CLIENT, NotInThisRelease, eventually, request, step


def flush():
    if hasattr(mlflow, "flush_trace_async_logging"):
        mlflow.flush_trace_async_logging()


def identity(span):
    return span.trace_id if CLIENT >= (3, 0) else span.request_id


def new_trace(name="question"):
    with mlflow.start_span(name) as span:
        span.set_inputs({"question": "how much?"})
        span.set_outputs({"answer": "grüße ✓"})
    flush()
    assert eventually(lambda: mlflow.get_trace(identity(span))), "the trace did not arrive"
    return identity(span)


def search(s, **arguments):
    try:
        return s.client.search_traces(experiment_ids=[s.experiment_id], **arguments)
    except TypeError:
        return s.client.search_traces(locations=[s.experiment_id], **arguments)


@step(since="2.14")
def trace_of_nested_functions(s):
    @mlflow.trace(name="outer", span_type="CHAIN", attributes={"a": 1})
    def outer(x):
        return inner(x) + 1

    @mlflow.trace
    def inner(x):
        return x * 2

    assert outer(2) == 5
    flush()
    trace = eventually(
        lambda: [each for each in search(s) if each.data.spans and each.data.spans[0].name == "outer"]
    )
    return [sorted(span.name for span in trace[0].data.spans), trace[0].data.spans[0].inputs]


@step(since="2.14")
def trace_of_a_function_that_raises(s):
    @mlflow.trace
    def fails():
        raise KeyError("a failure of the application")

    try:
        fails()
    except KeyError:
        flush()
    found = eventually(lambda: search(s, filter_string="trace.status = 'ERROR'"))
    return [str(found[0].info.status).split(".")[-1], found[0].data.spans[0].events[0].name]


@step(since="2.14")
def trace_with_two_hundred_spans(s):
    with mlflow.start_span("many") as root:
        for number in range(200):
            with mlflow.start_span(f"span{number}") as span:
                span.set_attributes({"text": "v" * 200})
    flush()
    trace = eventually(lambda: mlflow.get_trace(identity(root)))
    return len(trace.data.spans)


@step(since="2.14")
def trace_inside_a_run(s):
    with mlflow.start_run() as run:
        trace_id = new_trace()
    found = search(s, filter_string=f"run_id = '{run.info.run_id}'") if CLIENT < (3, 0) else None
    if found is None:
        found = (
            mlflow.search_traces(run_id=run.info.run_id, return_type="list")
            if CLIENT >= (3, 2)
            else [trace_id]
        )
    return len(found)


@step(since="2.14")
def trace_tags(s):
    trace_id = new_trace()
    s.client.set_trace_tag(trace_id, "kind", "test")
    s.client.set_trace_tag(trace_id, "gone", "1")
    s.client.delete_trace_tag(trace_id, "gone")
    tags = mlflow.get_trace(trace_id).info.tags
    return [tags.get("kind"), "gone" in tags]


@step(since="2.14")
def traces_are_searched(s):
    trace_id = new_trace()
    s.client.set_trace_tag(trace_id, "find", s.prefix)
    found = search(s, filter_string=f"tags.find = '{s.prefix}'", max_results=5)
    table = mlflow.search_traces(max_results=3)
    return [len(found), len(table)]


@step(since="2.14")
def traces_are_deleted(s):
    trace_id = new_trace()
    name = {"trace_ids": [trace_id]} if CLIENT >= (3, 0) else {"request_ids": [trace_id]}
    return s.client.delete_traces(s.experiment_id, **name)


@step(since="2.14")
def trace_by_the_client_in_steps(s):
    root = s.client.start_trace("by-hand", inputs={"a": 1}, experiment_id=s.experiment_id)
    child = s.client.start_span("child", identity(root), parent_id=root.span_id)
    s.client.end_span(identity(root), child.span_id, outputs={"b": 2})
    s.client.end_trace(identity(root), outputs={"c": 3})
    flush()
    return len(eventually(lambda: s.client.get_trace(identity(root))).data.spans)


@step(since="2.16")
def trace_is_updated_while_it_runs(s):
    @mlflow.trace
    def work():
        mlflow.update_current_trace(tags={"session": "abc"})

    work()
    flush()
    found = eventually(lambda: search(s, filter_string="tags.session = 'abc'"))
    return len(found) > 0


@step(since="3.0")
def trace_with_user_and_session(s):
    @mlflow.trace
    def chat():
        mlflow.update_current_trace(metadata={"mlflow.trace.session": "s-1", "app": "shop"})

    chat()
    flush()
    found = eventually(lambda: search(s, filter_string="metadata.app = 'shop'"))
    return found[0].info.trace_metadata["mlflow.trace.session"]


def feedback_source():
    from mlflow.entities import AssessmentSource

    return AssessmentSource(source_type="HUMAN", source_id="compat")


@step(since="3.2")
def feedback_and_expectation(s):
    trace_id = new_trace()
    feedback = mlflow.log_feedback(
        trace_id=trace_id, name="helpful", value=True, rationale="short", metadata={"end_user": "u1"}
    )
    mlflow.log_expectation(trace_id=trace_id, name="expected", value={"answer": "1"})
    found = mlflow.get_trace(trace_id).info.assessments
    got = mlflow.get_assessment(trace_id, feedback.assessment_id)
    return [sorted(each.name for each in found), got.feedback.value, got.rationale]


@step(since="3.2")
def feedback_is_updated_overridden_and_deleted(s):
    from mlflow.entities import Feedback

    trace_id = new_trace()
    first = mlflow.log_feedback(trace_id=trace_id, name="score", value=1)
    mlflow.update_assessment(trace_id, first.assessment_id, Feedback(name="score", value=2))
    values = [mlflow.get_assessment(trace_id, first.assessment_id).feedback.value]
    second = mlflow.override_feedback(trace_id=trace_id, assessment_id=first.assessment_id, value=3)
    values.append(mlflow.get_assessment(trace_id, second.assessment_id).feedback.value)
    mlflow.delete_assessment(trace_id, second.assessment_id)
    return [values, len(mlflow.get_trace(trace_id).info.assessments)]


@step(since="3.2")
def feedback_of_a_judge(s):
    from mlflow.entities import AssessmentSource

    trace_id = new_trace()
    source = AssessmentSource(source_type="LLM_JUDGE", source_id="judge-1")
    mlflow.log_feedback(trace_id=trace_id, name="correct", value="yes", source=source)
    return mlflow.get_trace(trace_id).info.assessments[0].source.source_id


@step(since="3.2")
def feedback_within_a_span(s):
    """From 3.18 on, the client puts it into the creation of the trace."""
    from mlflow.entities import Feedback

    trace_id = new_trace()
    trace = mlflow.get_trace(trace_id)
    mlflow.log_assessment(trace_id, Feedback(name="on-span", value=0.5, span_id=trace.data.spans[0].span_id))
    return [each.name for each in mlflow.get_trace(trace_id).info.assessments]


@step(since="3.2")
def trace_is_logged_with_assessments(s):
    """Copies a trace that has feedback, as offline evaluation does."""
    import mlflow.entities

    trace_id = new_trace()
    mlflow.log_feedback(trace_id=trace_id, name="copied", value=True)
    trace = mlflow.get_trace(trace_id)
    copies = [name for name in ("_log_trace", "log_trace") if hasattr(s.client, name)]
    if copies:
        getattr(s.client, copies[0])(trace)
        flush()
    return len(trace.info.assessments)


@step(since="3.4")
def traces_are_linked_to_a_run(s):
    if not hasattr(s.client, "link_traces_to_run"):
        raise NotInThisRelease("link_traces_to_run")
    trace_id, run = new_trace(), s.run()
    s.client.link_traces_to_run([trace_id], run)
    return len(mlflow.search_traces(run_id=run, return_type="list"))


@step(since="3.2")
def spans_by_opentelemetry(s):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    export = ExportTraceServiceRequest()
    span = export.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = bytes.fromhex(s.prefix[-8:] * 4), b"12345678", "otlp"
    span.start_time_unix_nano, span.end_time_unix_nano = 1700000000000000000, 1700000001000000000
    response = request(
        "POST",
        "/v1/traces",
        data=export.SerializeToString(),
        extra_headers={"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": s.experiment_id},
    )
    assert response.status_code < 500, response.text
    return response.status_code
