"""Whatever passes the check is what MLflow acts on, judged by MLflow's own router and parser."""

import json
import re
import warnings
from functools import cache
from types import ModuleType
from urllib.parse import unquote_to_bytes

import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.json_format import MessageToDict, ParseDict
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from werkzeug.exceptions import HTTPException

from keys.refusals import Refusal
from proxy.request import messages, paths
from proxy.request.messages import values
from proxy.routes import matching, message_types
from proxy.routes.table import OPERATIONS
from tests.proxy.request.variants import escaped, escaped_twice

READ = [
    operation
    for operation in OPERATIONS
    if f"{operation.method} {operation.path}" in message_types.messages_by_request() and not operation.refused
]
METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"])
WORDS = """
    api ajax-api 2.0 3.0 mlflow mlflow-artifacts artifacts runs experiments get create delete logged-models m-1
    traces search tags registered-models graphql é x:y ~ gateway assistant webhooks jobs
"""
MARKS = [".", "..", "/", ";", "\\", "\0", "\n", " ", "?", "+", "é"]
PIECES = st.sampled_from(
    [
        *("", "a b", *WORDS.split(), *MARKS, "%ff"),
        *(vary(mark) for mark in MARKS for vary in (escaped, escaped_twice)),
        *(f"a{escaped(mark)}b" for mark in MARKS),
    ]
)
TARGETS = st.lists(PIECES, min_size=1, max_size=9).map(lambda parts: "/" + "/".join(parts))
SERVED_TARGETS = st.sampled_from([operation.path for operation in OPERATIONS]).map(
    lambda path: path.replace("{", "").replace(":path}", "").replace("}", "")
)


@cache
def loaded_mlflow() -> ModuleType:
    """MLflow's own server. Loaded here: every process of a run loads this file, and only one runs its tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.server.handlers

        return mlflow.server


def as_wsgi(target: str) -> str:
    """PATH_INFO as a server makes it of a request line's path."""
    return unquote_to_bytes(target).decode("latin-1")


@given(method=METHODS, target=st.one_of(TARGETS, SERVED_TARGETS, st.text(max_size=60).map("/".__add__)))
@settings(max_examples=1500, deadline=None)
def test_a_path_that_passes_arrives_as_it_was_matched(method, target):
    try:
        decoded = paths.decode(as_wsgi(target))
        match = matching.match_operation(method, decoded)
    except Refusal as refusal:
        assert refusal.status in (400, 403, 404)
        return
    sent = paths.encode(match.path)

    assert unquote_to_bytes(sent).decode() == match.path
    assert sent.isascii()
    assert not set(sent) & set(" \r\n?#;\\")
    assert matching.match_operation(method, paths.decode(as_wsgi(sent))).operation == match.operation
    assert route_of_mlflow(method, match.path) in (None, match.operation.path)


def route_of_mlflow(method: str, path: str) -> str | None:
    """The path of MLflow's own route for this request, written as the table writes it; None if FastAPI's."""
    try:
        rule, _ = loaded_mlflow().app.url_map.bind("localhost").match(path, method, return_rule=True)
    except HTTPException:
        return None
    found = re.sub(r"<path:(\w+)>", r"{\1:path}", rule.rule)
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", found)


def fields_of(message: str) -> list[str]:
    return list(message_types.load_types()["messages"][message])


# The classes of values that the portal's types exclude: numbers just beyond each range, and text that UTF-8 or
# PostgreSQL cannot hold.
BEYOND = [sign * 2**bits for bits in (31, 32, 63, 64) for sign in (1, -1)] + [-(2**31) - 1, -(2**63) - 1]
NOT_TEXT = [chr(first) for first in (0, 0xD800)] + ["a" + chr(0xDFFF)]
TOO_LARGE = [10 * int(messages.MOST_DOUBLE), f"{messages.MOST_DOUBLE:.0e}00"]
SCALARS = st.one_of(
    st.sampled_from(["mine", "theirs", "7", "", " 7", "NaN", "1e3", "true", "RUNNING", "tr-" + "a" * 32]),
    st.integers(-5, 2**40),
    st.sampled_from([*BEYOND, *map(str, BEYOND), 1.5]),
    st.floats(),
    st.sampled_from([*NOT_TEXT, "é", "2026-01-01T00:00:00Z", "garbage", "3s", "a,bC", "a_b", "=="]),
    st.booleans(),
    st.none(),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["key", "value", "run_id", "runId", "model_id", "modelId", "tags", "trace_info", "x"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)


PACKINGS = st.sampled_from(["plain"] * 6 + ["string", "utf-16", "bom", "blanks", "garbage"])


@cache
def fields_with_values(message: str):
    """Pairs of a field's name, in either spelling, and a value. Made once: Hypothesis examines each new strategy."""
    types = message_types.load_types()["messages"][message]
    return st.one_of(
        st.tuples(
            st.sampled_from([name, message_types.camel_case(name)]),
            st.one_of(good_value(types.get(name, "string")), JSON),
        )
        for name in [*fields_of(message), "unknown"]
    )


@st.composite
def bodies(draw, operation):
    """A body that looks like the operation's, with fields misspelt, doubled, mistyped and oddly packed."""
    message = message_types.messages_by_request()[f"{operation.method} {operation.path}"]
    pairs = draw(st.lists(fields_with_values(message), max_size=6))
    text = "{" + ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in pairs) + "}"
    packing = draw(PACKINGS)
    return {
        "plain": text.encode(),
        "string": json.dumps(text).encode(),
        "utf-16": text.encode("utf-16"),
        "bom": b"\xef\xbb\xbf" + text.encode(),
        "blanks": b" \n" + text.encode() + b"\n ",
        "garbage": text.encode() + b"}",
    }[packing]


@cache
def good_value(kind: str):
    container, _, element = kind.partition(" ")
    if container == "repeated":
        return st.lists(good_value(element), max_size=2)
    if container == "map":
        return st.dictionaries(st.sampled_from(["a", "hokusai.user_id"]), good_value(element), max_size=2)
    if container == "enum":
        return st.sampled_from(element.split("|"))
    if kind in message_types.load_types()["messages"]:
        types = message_types.load_types()["messages"][kind]
        some = {name: good_value(of) for name, of in list(types.items())[:4] if of.split(" ")[-1] != kind}
        return st.fixed_dictionaries({}, optional=some)
    numbers = st.one_of(
        st.integers(0, 99), st.sampled_from([*BEYOND, *(value - 1 for value in BEYOND), "5", "05", 7.0])
    )
    return {
        **dict.fromkeys(("int32", "int64", "uint32", "uint64"), numbers),
        "double": st.one_of(st.floats(), st.sampled_from(["NaN", "-Infinity", "1", *TOO_LARGE])),
        "bool": st.booleans(),
        "bytes": st.sampled_from(["", "QUJD", "QUI=", "Q", "*"]),
        "google.protobuf.Timestamp": st.sampled_from(
            ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5+01:00", "2026-13-01T00:00:00Z", "garbage"]
        ),
        "google.protobuf.Duration": st.sampled_from(["3s", "1.5s", "s", "99999999999999s"]),
        "google.protobuf.FieldMask": st.sampled_from(["a", "a,bC", "a_b", ""]),
        "google.protobuf.Value": JSON,
    }.get(kind, st.sampled_from(["mine", "theirs", "7", "é", *NOT_TEXT]))


def message_class(name: str):
    loaded_mlflow()  # and with it, the descriptors
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))


def as_json(message) -> dict:
    return MessageToDict(message, preserving_proto_field_name=True)


@pytest.mark.parametrize("operation", READ, ids=lambda operation: f"{operation.method} {operation.path}")
def test_a_body_that_passes_names_the_same_objects_to_mlflow(operation):
    message = message_types.messages_by_request()[f"{operation.method} {operation.path}"]

    @given(body=bodies(operation))
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    def holds(body):
        try:
            content = messages.read(operation, body)
        except Refusal as refusal:
            assert refusal.status == 400
            return
        # MLflow swallows a parser's error and goes on with half a message: there must be none.
        content_of_mlflow = json.loads(body or b"{}")
        if isinstance(content_of_mlflow, str):
            content_of_mlflow = json.loads(content_of_mlflow)
        ParseDict(content_of_mlflow, message_class(message)(), ignore_unknown_fields=True)
        with loaded_mlflow().app.test_request_context(
            "/x", method=operation.method, data=body, content_type="application/json"
        ):
            try:
                parsed = loaded_mlflow().handlers._get_request_message(message_class(message)())
            except loaded_mlflow().handlers.MlflowException:
                return  # MLflow refuses it, so nothing is done
        theirs = as_json(parsed)
        fields = [place.field for place in (*operation.targets, *operation.parents, *operation.claims)]
        for field in [*fields, *operation.tags]:
            if field.startswith(("{", "@")) or ("[]" in field and field.endswith("{}")):
                continue
            ours = [value for value in named(content, field) if value != ""]
            assert ours == [value for value in named(theirs, field) if value != ""], field

    holds()


def named(content: dict, field: str) -> list:
    try:
        return list(values(content, field))
    except Refusal:
        assume(False)
        raise


@pytest.mark.parametrize(
    "body",
    [
        b'{"run_id":"a","run_id":"b"}',
        b'{"run_id":"a","runId":"b"}',
        b'{"tags":[{"key":"a","key":"b"}]}',
        b'{"run_id":5}',
        b'{"metrics":[{"model_id":5}]}',
        b'{"metrics":{"model_id":"x"}}',
        b'{"tags":["x"]}',
        b'{"tags":[null]}',
        b'[{"run_id":"a"}]',
        b'"\\"x\\""',
        b"5",
        b"{",
        b"\xef\xbb\xbf{}",
        '{"run_id":"a"}'.encode("utf-16"),
        b'{"run_id":"\xff"}',
        b"[" * 100_000,
        *(json.dumps({"run_id": text}).encode() for text in NOT_TEXT),
        b'{"metrics":[{"value":NaN}]}',
        *(b'{"metrics":[{"value":%b}]}' % str(value).encode() for value in TOO_LARGE),
        *(
            json.dumps({"metrics": [{"step": value}]}).encode()
            for value in BEYOND
            if not -(2**63) <= value < 2**63
        ),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused_with_a_reason(body):
    log_batch = next(operation for operation in READ if operation.name == "runs.log-batch")

    with pytest.raises(Refusal) as refused:
        messages.read(log_batch, body)

    assert (refused.value.status, refused.value.reason) == (400, "unreadable_body")
    assert "cannot be read unambiguously" in refused.value.message


@pytest.mark.parametrize("number", ["1e+05", "100000.0", 1e5, 1731000000000.25, "-1", "1731000000000.5"])
def test_metrics_may_have_numbers_as_r_and_others_write_them(number):
    """Elsewhere, where MLflow may stop at such a number, they are refused."""
    rows = {operation.name: operation for operation in READ}
    metric = {"key": "loss", "value": 1.0, "timestamp": number, "step": number}

    for name, body in (("runs.log-batch", {"metrics": [metric]}), ("runs.log-metric", metric)):
        assert messages.read(rows[name], json.dumps(body).encode()) == body
    if not str(number).lstrip("-").isdecimal() and number != 1e5:
        with pytest.raises(Refusal):
            messages.read(rows["traces.delete"], json.dumps({"max_traces": number}).encode())


def test_a_body_that_is_not_stamped_goes_as_it_came(echo, echo_portal, echo_key):
    """Byte for byte: blanks, order, escapes and unknown fields included."""
    body = b'{ "value" : "\\u00e9\xc3\xa9" ,"key":"k",\n"runId":"' + b"a" * 32 + b'", "unknown": 1.0e0 }'
    reply = echo_portal.request(
        "POST",
        "/api/mlflow/api/2.0/mlflow/runs/set-tag",
        key=echo_key["key"],
        headers=[("Content-Type", "application/json")],
        body=body,
    )

    assert reply.status == 200
    assert echo.last.body == body
