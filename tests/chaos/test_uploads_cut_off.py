"""Two hundred uploads of 1 GiB, all under way at once, are cut off midway."""

import contextlib
import socket
import struct
from collections.abc import Iterator

import psutil
import pytest

from tests.echo import EchoServer, Received
from tests.portals import Portal, portal, wait_for
from tests.proxy.forwarding.test_forwarding import ARTIFACT, UPLOAD, request

pytestmark = pytest.mark.postgresql

COUNT, AT_ONCE = 200, 20
SIZE, SENT = 2**30, 3 * 2**16  # bytes announced, and sent: the portal passes them on by 64 KiB
TARGET = f"/api/mlflow{ARTIFACT}"
RESET = struct.pack("ii", 1, 0)


@pytest.fixture
def roomy(echo_server, echo_portal) -> Iterator[Portal]:
    """A portal with 210 places for transfers, 105 of them one user's."""
    with portal(mlflow_url=echo_server.url, database=echo_portal.database, THREADS="320") as running:
        yield running


def test_two_hundred_uploads_are_cut_off_midway(echo, roomy):
    keys = [roomy.issue(f"uploader{number}", "--any-owner") for number in range(4)]
    for key in keys:
        assert roomy.request("PUT", UPLOAD, key=key["key"], body=b"x").status == 200
    echo.reset()
    worker = psutil.Process(roomy.process.pid).children()[0]
    before = worker.memory_info().rss
    with contextlib.ExitStack() as stack:
        connections: list[socket.socket] = []
        while len(connections) < COUNT:
            connections += [begin(stack, roomy, keys[number % len(keys)]) for number in range(AT_ONCE)]
            assert wait_for(lambda: arrived(echo) == [SENT] * len(connections), seconds=60)  # noqa: B023
        growth = worker.memory_info().rss - before
        assert (len(uploads(echo.arriving)), echo.broken, echo.received) == (COUNT, [], [])
        for connection in connections:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            connection.close()
        assert wait_for(lambda: len(uploads(echo.broken)) == COUNT, seconds=60)

    print(f"{growth / 2**20:.0f} MiB for {COUNT} uploads")
    assert growth < COUNT * 2**19, "it holds more than a few pieces of each"
    assert uploads(echo.received) == [], "half an upload was taken for a whole one"
    assert_logged_as_cut_off(roomy, uploads(echo.broken))
    for key in keys:
        again = lambda: roomy.request("PUT", UPLOAD, key=key["key"], body=b"x").status  # noqa: B023, E731
        assert wait_for(again, lambda status: status == 200, seconds=30) == 200
    assert "Traceback" not in roomy.log.read_text()


def begin(stack: contextlib.ExitStack, running: Portal, key: dict) -> socket.socket:
    """An upload that will not end."""
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=60))
    connection.sendall(request("PUT", UPLOAD, key, f"Content-Length: {SIZE}") + bytes(SENT))
    return connection


def uploads(seen: list[Received]) -> list[Received]:
    return [one for one in list(seen) if one.method == "PUT"]


def arrived(echo: EchoServer) -> list[int]:
    return [one.length for one in uploads(echo.arriving)]


def assert_logged_as_cut_off(running: Portal, broken: list[Received]) -> None:
    """Each once, with the bytes that passed; `bytes_out` are the words that nobody was left to read."""
    names = [one.values("X-Request-ID")[0] for one in broken]
    query = "select request_id, status, reason, bytes_in from proxy_call where request_id = any(%s)"
    rows = wait_for(lambda: running.sql(query, names), lambda rows: len(rows) >= COUNT, seconds=30)
    assert sorted(rows) == sorted((name, 499, "client_gone", SENT) for name in names)
