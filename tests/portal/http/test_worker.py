"""A portal that is stopped: what runs is finished or cut off and written down, what comes is sent elsewhere."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.echo import Script
from tests.portals import Portal, Reply, parsed, portal, wait_for
from tests.proxy.forwarding.test_forwarding import ARTIFACT, GET_EXPERIMENT, UPLOAD, request

pytestmark = pytest.mark.postgresql

TARGET = f"/api/mlflow{ARTIFACT}"
HALF = bytes(300_000)
BIG = 40 * 2**20  # bytes; more than the sockets between a sender and a reader that waits can hold


@pytest.fixture
def stoppable(echo, echo_portal):
    """A portal of this test's own, and a key; further settings as given."""

    @contextmanager
    def start(**settings: str) -> Iterator[tuple[Portal, dict]]:
        with portal(mlflow_url=echo.url, database=echo_portal.database, **settings) as running:
            yield running, echo_portal.issue("drain", "--any-owner", "--preset", "full")

    return start


@contextmanager
def connected(running: Portal, first: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        connection.sendall(first)
        yield connection


def rest(connection: socket.socket) -> bytes:
    """What comes until the portal closes; b"" if that is all."""
    received = b""
    try:
        while piece := connection.recv(2**18):
            received += piece
    except ConnectionResetError:
        pass
    return received


def stop(running: Portal, number: signal.Signals = signal.SIGTERM) -> None:
    running.process.send_signal(number)


def readiness(running: Portal) -> int:
    try:
        return running.request("GET", "/health/ready").status
    except OSError:
        return 0


def test_what_runs_at_sigterm_is_finished_and_what_comes_is_asked_to_come_again(echo, stoppable):
    with stoppable(WORKERS="2") as (running, key):
        upload = request("PUT", UPLOAD, key, f"Content-Length: {2 * len(HALF)}")
        echo.script = Script(size=BIG)
        with (
            connected(running, request("GET", TARGET, key)) as down,
            connected(running, upload + HALF) as up,
        ):
            assert wait_for(lambda: len(echo.arriving) == 2)
            stop(running)
            assert wait_for(lambda: readiness(running) == 503)
            late = running.request("GET", GET_EXPERIMENT, key=key["key"])
            assert running.request("GET", "/health/live").status == 200
            echo.script = None
            up.sendall(HALF)
            uploaded, downloaded = parsed(rest(up)), parsed(rest(down))
            assert running.process.wait(10) == 0
        assert readiness(running) == 0

        assert (late.status, late.json()["error_code"]) == (429, "TEMPORARILY_UNAVAILABLE")
        assert int(late.headers["Retry-After"]) > 0
        assert (uploaded.status, downloaded.status, len(downloaded.body)) == (200, 200, BIG)
        rows = {row["request_id"]: row for row in running.calls(at_least=3)}
    for reply, reason, size in (
        (late, "portal_stopping", 0),
        (uploaded, "", 2 * len(HALF)),
        (downloaded, "", 0),
    ):
        row = rows[reply.headers["X-Request-ID"]]
        assert (row["status"], row["reason"], row["bytes_in"]) == (reply.status, reason, size)


def test_what_takes_longer_is_cut_off_and_written_down(echo, stoppable):
    with stoppable(DRAIN_SECONDS="1") as (running, key):
        upload = request("PUT", UPLOAD, key, f"Content-Length: {2 * len(HALF)}")
        with connected(running, upload + HALF) as up:
            assert wait_for(lambda: len(echo.arriving) == 1)
            echo.script = Script(size=BIG)
            with connected(running, request("GET", TARGET, key)) as down:
                assert wait_for(lambda: len(echo.arriving) == 2)
                let_go = threading.Event()
                echo.script = Script(hang=let_go)
                with connected(running, request("GET", GET_EXPERIMENT, key)) as waiting:
                    assert wait_for(lambda: len(echo.arriving) == 3)
                    stop(running)
                    started = time.monotonic()
                    assert running.process.wait(20) == 0
                    assert 1 <= time.monotonic() - started < 8
                    assert rest(up) == b""
                    assert len(rest(down)) < BIG
                    assert rest(waiting) == b""
                let_go.set()
        assert wait_for(lambda: len(echo.broken) >= 1)
        assert wait_for(lambda: len(running.calls(reason="portal_stopped")) == 3)
        rows = {row["operation"]: row for row in running.calls(reason="portal_stopped", at_least=3)}

    assert {name: row["status"] for name, row in rows.items()} == {
        "artifacts.upload": 499,
        "artifacts.download": 200,
        "experiments.get": 503,
    }
    assert rows["artifacts.upload"]["bytes_in"] == len(HALF)
    assert 0 < rows["artifacts.download"]["bytes_out"] < BIG


@pytest.mark.alone
def test_without_a_running_call_it_is_gone_at_once(stoppable):
    with stoppable() as (running, key), connected(running, request("GET", GET_EXPERIMENT, key)) as idle:
        assert idle.recv(4096)
        started = time.monotonic()
        stop(running)
        assert running.process.wait(10) == 0
        assert time.monotonic() - started < 5


def test_workers_that_are_replaced_refuse_nobody(echo, stoppable):
    with stoppable() as (running, key):
        upload = request("PUT", UPLOAD, key, f"Content-Length: {2 * len(HALF)}")
        with connected(running, upload + HALF) as up:
            assert wait_for(lambda: len(echo.arriving) == 1)
            stop(running, signal.SIGHUP)
            assert wait_for(lambda: running.log.read_text().count("Booting worker") == 2)
            statuses = [asked(running, key).status for _ in range(20)]
            up.sendall(HALF)
            assert parsed(rest(up)).status == 200

    assert statuses == [200] * 20


def asked(running: Portal, key: dict) -> Reply:
    return running.request("GET", GET_EXPERIMENT, key=key["key"])


def test_who_was_let_in_and_has_not_asked_yet_is_answered_by_a_worker_that_ends(stoppable):
    kept = request("GET", GET_EXPERIMENT, None).replace(b"Connection: close\r\n", b"")
    with (
        stoppable() as (running, key),
        connected(running, kept) as idle,
        connected(running, b"") as new,
    ):
        assert idle.recv(4096)
        worker = psutil.Process(running.process.pid).children()[0]
        assert wait_for(lambda: new.getsockname() in {end.raddr for end in worker.net_connections()})
        stop(running, signal.SIGHUP)
        rest(idle)  # it is closed: the end has begun

        new.sendall(request("GET", GET_EXPERIMENT, key))
        assert parsed(rest(new)).status == 200


def test_a_client_that_goes_on_calling_is_told_and_not_cut_off(echo, stoppable):
    """Its connection is not closed between two requests, after which it could not know whether one arrived."""
    kept = request("GET", GET_EXPERIMENT, None)
    with stoppable() as (running, key):
        kept = request("GET", GET_EXPERIMENT, key).replace(b"Connection: close\r\n", b"")
        with connected(running, kept) as client:
            received = client.recv(4096)
            while not received.endswith(b"}"):
                received += client.recv(4096)
            assert b" 200 OK\r\n" in received
            stop(running)
            assert wait_for(lambda: readiness(running) != 200)
            client.sendall(kept)
            assert b"Connection: close\r\n" in (refused := rest(client))
            assert parsed(refused).status == 429
