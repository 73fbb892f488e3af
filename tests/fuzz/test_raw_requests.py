"""Bytes that may be HTTP, to a live portal in front of the echo server.

Whatever comes in: no 500 and no traceback; nothing goes to MLflow but operations of the table, with the headers of
the policy, in the caller's own name. FUZZ=20000 (`make fuzz`) for so many; the suite does some hundred.
"""

import os
import re
import socket
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from keys.refusals import Refusal
from proxy.routes import matching
from proxy.routes.table import OPERATIONS
from tests.echo import EchoServer, Received
from tests.portals import Portal
from tests.proxy.request.variants import escaped, escaped_twice

pytestmark = pytest.mark.postgresql

EXAMPLES = int(os.environ.get("FUZZ", "300"))
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
# CONTRACT §5, written down once more.
ALLOWED = {
    *(
        "accept",
        "accept-encoding",
        "content-type",
        "content-length",
        "content-encoding",
        "range",
        "user-agent",
    ),
    *("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"),
    *("x-mlflow-client-version", "x-mlflow-experiment-id", "x-mlflow-run-id", "traceparent", "tracestate"),
    *("host", "x-forwarded-for", "x-hokusai-user-id", "x-hokusai-api-key-id", "x-request-id"),
    *("transfer-encoding", "connection", "expect"),  # of the connection to MLflow itself
}
KEY = b"<KEY>"

SERVED = [operation for operation in OPERATIONS if not operation.refused]
paths = st.sampled_from(SERVED).map(lambda operation: re.sub(r"\{[^}]*\}", "0", operation.path).encode())
odd = st.sampled_from(
    [
        b"//",
        *(b"/../", b";a=b", b"\\"),
        *(vary(mark).encode() for mark in ("..", "/", "\0", "\r\n") for vary in (escaped, escaped_twice)),
        b"\xc3\xb6",
        b"\xff",
        b"#a",
        b"?a=1",
    ]
)
mounts = st.sampled_from(
    [b"/api/mlflow", b"/mlflow", b"", b"/api", b"/admin", b"http://127.0.0.1:9", b"http://evil.example"]
)
targets = st.one_of(
    st.builds(lambda mount, path: mount + path, mounts, paths),
    st.builds(
        lambda mount, path, spot, piece: mount + path[:spot] + piece + path[spot:],
        mounts,
        paths,
        st.integers(0, 60),
        odd,
    ),
    st.sampled_from(
        [
            b"*",
            b"/",
            b"127.0.0.1:443",
            b"/health",
            b"/health/live",
            b"/admin/login/",
            b"/version",
            b"/v1/traces",
        ]
    ),
    st.binary(max_size=30).map(lambda noise: b"/" + noise),
)
# Calls of the table, each with its own method.
calls = st.builds(
    lambda mount, operation: (
        operation.method.encode(),
        mount + re.sub(r"\{[^}]*\}", "0", operation.path).encode(),
    ),
    st.sampled_from([b"/api/mlflow", b""]),
    st.sampled_from(SERVED),
)
methods = st.sampled_from(
    [
        *[b"GET"] * 6,
        *[b"POST"] * 4,
        b"PUT",
        b"DELETE",
        b"PATCH",
        b"HEAD",
        b"OPTIONS",
        b"TRACE",
        b"CONNECT",
        b"get",
        b"PRI",
        b"G T",
        b"P\xd6ST",
    ]
)
versions = st.sampled_from(
    [b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.10", b"http/1.1", b""]
)
framings = st.sampled_from(
    [
        b"Content-Length: +2",
        b"Content-Length: 0x2",
        b"Content-Length: 2, 2",
        b"Content-Length: 99999999999999999999",
        b"Content-Length : 2",
        b"Content-Length:\t2",
        b"Content_Length: 2",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding:\x0bchunked",
        b"transfer-encoding: CHUNKED",
        b"TE: trailers, chunked",
        b"Expect: 100-continue",
        b"Expect: 200-ok",
        b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
        b"Upgrade: websocket\r\nConnection: Upgrade",
        b"Connection: close, X-Hokusai-User-Id",
        b"Connection: keep-alive",
        b"Trailer: Authorization",
        b"X-A: b\r\n folded: c",
        b"X-A: b\nX-Hokusai-User-Id: usr_forged",
        b"X-A: b\rX-Hokusai-User-Id: usr_forged",
    ]
)
forged = st.sampled_from(
    [
        b"X-Hokusai-User-Id: usr_forged",
        b"x_hokusai_user_id: usr_forged",
        b"X-Hokusai-API-Key-Id: key_forged",
        b"X-Forwarded-For: 203.0.113.1",
        b"X-Forwarded-Host: evil.example",
        b"Forwarded: for=203.0.113.1",
        b"X-MLFLOW-WORKSPACE: other",
        b"X-Request-ID: req_forged",
        b"Cookie: sessionid=forged",
        b"Origin: https://evil.example",
        b"Host: evil.example",
        b"X-HTTP-Method-Override: DELETE",
        b"Authorization: Basic Zm9yZ2VkOmZvcmdlZA==",
        b"X-API-Key: hk_live_forged",
        b"Range: bytes=0-1",
        b"If-None-Match: *",
        b"Content-Encoding: gzip",
        b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ]
)
headers = st.lists(
    st.one_of(
        framings,
        forged,
        st.binary(max_size=20).map(lambda noise: b"X-Noise: " + noise),
        st.binary(max_size=12),
    ),
    max_size=4,
)
credentials = st.sampled_from(
    [b"Authorization: Bearer " + KEY] * 6 + [b"X-API-Key: " + KEY, b"authorization: aPiKeY  " + KEY, b""]
)
SMUGGLED = (
    b"GET /api/2.0/mlflow/experiments/get?experiment_id=smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "
    + KEY
    + b"\r\n\r\n"
)
bodies = st.sampled_from(
    [
        b"",
        b"{}",
        b'{"experiment_id": "0"}',
        b'{"name": "a", "name": "b"}',
        b'{"tags": [{"key": "hokusai.user_id", "value": "usr_forged"}], "name": "m"}',
        b"[" * 5000,
        b"\xff\xfe",
        b"2\r\n{}\r\n0\r\n\r\n",
        b"2;a=b\r\n{}\r\n0\r\nX-Trailer: a\r\n\r\n",
        b"-1\r\n{}\r\n0\r\n\r\n",
        b"ffffffffffffffff1\r\n{}",
        b"2\n{}\n0\n\n",
        SMUGGLED,
        b"0\r\n\r\n" + SMUGGLED,
    ]
)


@dataclass(frozen=True)
class Sent:
    """Bytes, and as how many requests they can be read at most (None: who knows)."""

    content: bytes
    most: int | None


@st.composite
def plain(draw) -> bytes:
    """A request whose end is certain, whatever it asks for."""
    body = draw(bodies)
    any_start = st.tuples(methods.filter(bytes.isalpha), targets)
    method, target = draw(st.one_of(any_start, calls))
    lines = [
        b"%b %b HTTP/1.1" % (method, target.replace(b" ", b"")),
        b"Host: 127.0.0.1",
        draw(credentials),
        *draw(st.lists(forged, max_size=3)),
        b"Content-Length: %d" % len(body.replace(KEY, b"k" * 40)),
    ]
    return b"\r\n".join(line for line in lines if line) + b"\r\n\r\n" + body


@st.composite
def wild(draw) -> bytes:
    lines = [
        b" ".join(part for part in (draw(methods), draw(targets), draw(versions)) if part),
        *draw(st.sampled_from([[b"Host: 127.0.0.1"], [], [b"Host: 127.0.0.1", b"Host: evil.example"]])),
        draw(credentials),
        *draw(headers),
    ]
    body = draw(bodies)
    if draw(st.booleans()):
        lines.append(b"Content-Length: %d" % (len(body) + draw(st.integers(-2, 2))))
    ending = draw(st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r"]))
    return ending.join(line for line in lines if line) + ending * 2 + body


@st.composite
def sent(draw) -> Sent:
    kind = draw(st.integers(0, 9))
    if kind < 4:
        content = draw(st.lists(plain(), min_size=1, max_size=3))
        return Sent(b"".join(content), len(content))
    content = b"".join(draw(st.lists(wild(), min_size=1, max_size=2)))
    if kind > 7:  # some bytes changed
        spot, length = draw(st.integers(0, len(content))), draw(st.integers(0, 3))
        content = content[:spot] + draw(st.binary(max_size=4)) + content[spot + length :]
    return Sent(content, None)


@pytest.fixture(scope="module")
def key(echo_portal) -> dict:
    return echo_portal.issue(
        "fuzz", "--any-owner", "--preset", "full", "--requests-per-minute", "100000000", "--name", "fuzz"
    )


def exchange(portal: Portal, content: bytes) -> bytes:
    """What comes back until the portal closes; it knows that nothing more follows."""
    received = b""
    with socket.create_connection(("127.0.0.1", portal.port), timeout=30) as connection:
        try:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                received += piece
        except (ConnectionResetError, BrokenPipeError):
            pass
    return received


def statuses(received: bytes) -> list[int]:
    """Of the portal's answers; the echo's content, which comes in JSON, holds no line of its own."""
    return [int(status) for status in STATUS.findall(received)]


def assert_permitted(arrived: Received, key: dict) -> None:
    """What MLflow got is an operation of the table, in the caller's name, with headers of the policy alone."""
    path = unquote_to_bytes(arrived.target.partition("?")[0]).decode()
    if path == "/health" and not arrived.values("X-Hokusai-User-Id"):
        return  # the portal's own question
    try:
        operation = matching.match_operation(arrived.method, path).operation
    except Refusal as refusal:
        raise AssertionError(f"{arrived.method} {arrived.target} at MLflow: {refusal}") from None
    assert not operation.refused
    assert arrived.names <= ALLOWED, arrived.names - ALLOWED
    if arrived.values("X-Hokusai-API-Key-Id"):
        assert arrived.values("X-Hokusai-User-Id") == [key["user_id"]]
        assert arrived.values("X-Hokusai-API-Key-Id") == [key["id"]]
        assert arrived.values("X-Forwarded-For") == ["127.0.0.1"]
        assert len(arrived.values("X-Request-ID")) == 1
        assert "forged" not in "".join(arrived.values("X-Request-ID"))
    else:
        assert operation.name == "traces.batch-get-infos", "a call without a name"
    assert len(arrived.values("Host")) == 1
    assert "evil" not in arrived.values("Host")[0]
    assert len(arrived.values("Content-Length")) + len(arrived.values("Transfer-Encoding")) <= 1
    assert key["key"] not in arrived.target + str(arrived.headers)


def tracebacks(portal: Portal, start: int) -> list[str]:
    """The first lines of the log that hold one, from the byte `start` on: other tests use the portal too."""
    log = portal.log.read_bytes()[start:].decode()
    return [line[:4000] for line in log.splitlines() if "Traceback" in line][:3]


def test_no_bytes_get_past_the_policy(echo_server: EchoServer, echo_portal: Portal, key):
    answers: dict[int, int] = {}
    start = echo_portal.log.stat().st_size

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=EXAMPLES <= 1000,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(sent())
    def run(made: Sent) -> None:
        echo_server.reset()
        received = exchange(echo_portal, made.content.replace(KEY, key["key"].encode()))
        seen = statuses(received)
        for status in seen:
            answers[status] = answers.get(status, 0) + 1
        wrong = [status for status in seen if status >= 500 and status != 501]
        assert not wrong, (made.content, received, tracebacks(echo_portal, start))
        for arrived in echo_server.arriving:
            assert_permitted(arrived, key)
        if made.most is not None:
            assert len(echo_server.received) <= made.most * 2  # a trace's export asks one question more
            assert not [one for one in echo_server.arriving if "smuggled" in one.target]

    run()
    print(f"{EXAMPLES} connections, answers by status: {dict(sorted(answers.items()))}")
    log = echo_portal.log.read_text()
    assert tracebacks(echo_portal, start) == []
    assert key["key"] not in log
    assert answers.get(200, 0) > EXAMPLES // 20, "too little of it is HTTP"
    assert echo_portal.request("GET", "/health/live").status == 200
