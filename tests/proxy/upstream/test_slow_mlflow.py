"""An MLflow that is slow or hangs, behind a portal as it is run, with 2 s of patience in place of 60."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from proxy.upstream.breaker import FAILURES
from tests.echo import BLOCK, EchoServer, Script
from tests.portals import Portal, Reply, portal, wait_for
from tests.proxy.forwarding.test_forwarding import ARTIFACT, GET_EXPERIMENT, UPLOAD, request

pytestmark = pytest.mark.postgresql

SEARCH = "/api/mlflow/api/2.0/mlflow/runs/search"
ASKED = b'{"experiment_ids": []}'
SECONDS = 2.0  # that MLflow may be silent: `tests.proxy.hurried`, whose import would change this process
JSON = [("Content-Type", "application/json")]


@pytest.fixture(scope="module")
def hurried(echo_server, echo_portal) -> Iterator[Portal]:
    with portal(
        mlflow_url=echo_server.url, database=echo_portal.database, config="tests.proxy.hurried"
    ) as running:
        yield running


@contextmanager
def hanging(echo: EchoServer, only: str = "") -> Iterator[None]:
    """MLflow takes requests and does not answer them, or only not those whose target has `only` in it."""
    event = threading.Event()
    echo.script = Script(hang=event, only=only)
    try:
        yield
    finally:
        echo.script = None
        event.set()


def get(running: Portal, key: dict) -> Reply:
    return running.request("GET", GET_EXPERIMENT, key=key["key"])


def search(running: Portal, key: dict) -> Reply:
    return running.request("POST", SEARCH, key=key["key"], headers=JSON, body=ASKED)


def test_callers_of_an_mlflow_that_hangs_are_told_in_time_and_then_at_once(echo, hurried, echo_key):
    with hanging(echo), ThreadPoolExecutor(FAILURES) as callers:
        started = time.monotonic()
        replies = list(callers.map(lambda _: get(hurried, echo_key), range(FAILURES)))
        waited = time.monotonic() - started
        away = get(hurried, echo_key)
        sent = len(echo.received)
        after = [get(hurried, echo_key) for _ in range(20)]
        arrived = [one for one in echo.received[sent:] if one.target != "/health"]
        health = hurried.request("GET", "/health/live")
    back = wait_for(lambda: get(hurried, echo_key).status, lambda status: status == 200, seconds=30)

    assert [(reply.status, reply.json()["error_code"]) for reply in replies] == [
        (504, "DEADLINE_EXCEEDED")
    ] * FAILURES
    assert waited >= SECONDS
    for reply in replies:
        assert "check before" in reply.json()["message"]
        [call] = hurried.calls(request_id=reply.headers["X-Request-ID"])
        assert (call["status"], call["reason"]) == (504, "upstream_timeout")
    assert {reply.status for reply in [away, *after]} == {429}
    assert 0 < int(away.headers["Retry-After"]) <= 30
    assert arrived == [], "a call was sent to an MLflow that is away"
    [call] = hurried.calls(request_id=away.headers["X-Request-ID"])
    assert (call["status"], call["reason"]) == (429, "upstream_away")
    assert (health.status, back) == (200, 200)


def test_a_download_that_moves_takes_as_long_as_it_takes(echo, hurried, echo_key):
    pieces, pause = 10, SECONDS / 6
    echo.script = Script(size=pieces * len(BLOCK), pause=pause)
    started = time.monotonic()
    reply = hurried.request("GET", f"/api/mlflow{ARTIFACT}", key=echo_key["key"])

    assert (reply.status, len(reply.body)) == (200, pieces * len(BLOCK))
    assert reply.body == BLOCK * pieces
    assert time.monotonic() - started > 1.5 * SECONDS
    [call] = hurried.calls(request_id=reply.headers["X-Request-ID"])
    assert (call["status"], call["reason"], call["bytes_out"]) == (200, "", pieces * len(BLOCK))


@contextmanager
def copying(echo: EchoServer) -> Iterator[None]:
    """MLflow copies a file to or from its store, and sends nothing for twice as long as it may be silent."""
    event = threading.Event()
    echo.script = Script(hold=event, only="/run/artifacts/")
    timer = threading.Timer(2 * SECONDS, event.set)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        event.set()
        echo.script = None


def until_closed(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


MLFLOW_CLIENT, OTHER_CLIENT = "mlflow-python-client/3.17.2", "mlflow/rust"
UPLOADED = b"x" * 100_000


def test_transfers_wait_for_mlflows_store(echo, hurried, echo_key):
    """MLflow's own client gets interim responses meanwhile, or it would give up after 120 s; HTTP/1.0 has none."""

    def transfer(method: str, agent: str, version: bytes = b"HTTP/1.1") -> bytes:
        body = UPLOADED if method == "PUT" else b""
        head = request(
            *(
                method,
                UPLOAD if method == "PUT" else f"/api/mlflow{ARTIFACT}",
                echo_key,
                f"User-Agent: {agent}",
            ),
            f"Content-Length: {len(body)}",
        )
        with socket.create_connection(("127.0.0.1", hurried.port), timeout=20) as connection:
            connection.sendall(head.replace(b"HTTP/1.1", version) + body)
            return until_closed(connection)

    cases = [(method, agent) for method in ("GET", "PUT") for agent in (MLFLOW_CLIENT, OTHER_CLIENT)]
    with copying(echo), ThreadPoolExecutor(len(cases) + 1) as callers:
        old = callers.submit(transfer, "GET", MLFLOW_CLIENT, b"HTTP/1.0")
        received = list(callers.map(lambda case: transfer(*case), cases))

    for (method, agent), reply in zip(cases, received, strict=True):
        first, _, rest = reply.partition(b"HTTP/1.1 200 OK")
        assert rest, (method, agent)
        assert first == b"HTTP/1.1 100 Continue\r\n\r\n" * first.count(b"100 Continue")
        assert bool(first) is (agent == MLFLOW_CLIENT)
    assert old.result().startswith(b"HTTP/1.0 200 OK")
    assert [one.length for one in echo.received if one.method == "PUT"] == [len(UPLOADED)] * 2


def test_a_caller_that_leaves_meanwhile_frees_its_slot(echo, hurried, echo_key):
    with hanging(echo, only=ARTIFACT):
        with socket.create_connection(("127.0.0.1", hurried.port), timeout=20) as connection:
            connection.sendall(request("GET", f"/api/mlflow{ARTIFACT}", echo_key))
            assert wait_for(lambda: echo.arriving)
        request_id = echo.arriving[-1].values("X-Request-ID")[0]
        [call] = hurried.calls(request_id=request_id, seconds=5.0)

    assert (call["status"], call["reason"]) == (499, "client_gone")


def test_slow_calls_that_time_out_leave_those_that_work_alone(echo, hurried, echo_key):
    """Twice as many as would open the breaker, had nothing been answered since they began."""
    with hanging(echo, only="/runs/search"), ThreadPoolExecutor(2 * FAILURES) as callers:
        slow = [callers.submit(search, hurried, echo_key) for _ in range(2 * FAILURES)]
        is_slow = lambda one: "/runs/search" in one.target  # noqa: E731
        assert wait_for(lambda: sum(map(is_slow, echo.received)) == 2 * FAILURES, seconds=30)
        good = [get(hurried, echo_key)]
        while not all(call.done() for call in slow):
            good.append(get(hurried, echo_key))
        good += [get(hurried, echo_key) for _ in range(5)]

    assert {(call.result().status, call.result().json()["error_code"]) for call in slow} == {
        (504, "DEADLINE_EXCEEDED")
    }
    assert {reply.status for reply in good} == {200}
