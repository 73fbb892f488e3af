"""Bodies pass in both directions as they come: in constant memory, and never as whole when they are not."""

import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.echo import BLOCK, EchoServer, Script
from tests.portals import Portal, parsed, portal, wait_for
from tests.proxy.forwarding.test_forwarding import ARTIFACT, GET_EXPERIMENT, UPLOAD, request

pytestmark = pytest.mark.postgresql

SEARCH = "/api/mlflow/api/2.0/mlflow/runs/search"
GIBIBYTE = 2**30
MOST_GROWTH = 32 * 2**20  # bytes
TARGET = f"/api/mlflow{ARTIFACT}"
HALF = bytes(500_000)


@contextmanager
def memory_of(running: Portal) -> Iterator[Callable[[], int]]:
    """Yields how many bytes the portal's workers have grown by at the worst moment so far."""
    workers = psutil.Process(running.process.pid).children()
    assert workers
    resident = lambda: sum(worker.memory_info().rss for worker in workers)  # noqa: E731
    before = most = resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.02):
            most = max(most, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: most - before
    finally:
        done.set()
        watcher.join()


def blocks(size: int) -> Iterator[bytes]:
    """`size` bytes of the echo server's pattern."""
    for _ in range(size // len(BLOCK)):
        yield BLOCK


def checksum(size: int) -> int:
    crc = 0
    for block in blocks(size):
        crc = zlib.crc32(block, crc)
    return crc


def answer(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


@pytest.mark.parametrize("length", [f"Content-Length: {GIBIBYTE}", "Transfer-Encoding: chunked"])
def test_a_gibibyte_goes_up_in_constant_memory(length, echo, echo_portal, echo_key):
    is_chunked = "chunked" in length
    with (
        memory_of(echo_portal) as growth,
        socket.create_connection(("127.0.0.1", echo_portal.port), timeout=60) as connection,
    ):
        connection.sendall(request("PUT", UPLOAD, echo_key, length))
        for block in blocks(GIBIBYTE):
            connection.sendall(b"%x\r\n%b\r\n" % (len(block), block) if is_chunked else block)
        if is_chunked:
            connection.sendall(b"0\r\n\r\n")
        reply = parsed(answer(connection))
        assert reply.status == 200
        assert growth() < MOST_GROWTH

    assert (echo.last.length, echo.last.crc) == (GIBIBYTE, checksum(GIBIBYTE))
    assert echo.last.values("Transfer-Encoding") == (["chunked"] if is_chunked else [])
    [call] = echo_portal.calls(request_id=reply.headers["X-Request-ID"])
    assert (call["status"], call["bytes_in"], call["operation"]) == (200, GIBIBYTE, "artifacts.upload")


def test_a_gibibyte_comes_down_in_constant_memory(echo, echo_portal, echo_key):
    echo.script = Script(size=GIBIBYTE, headers=[("Content-Type", "application/octet-stream")])
    count = crc = 0
    with (
        memory_of(echo_portal) as growth,
        socket.create_connection(("127.0.0.1", echo_portal.port), timeout=60) as connection,
    ):
        connection.sendall(request("GET", TARGET, echo_key))
        head, _, first = until_head_ends(connection)
        count, crc = len(first), zlib.crc32(first)
        while piece := connection.recv(2**18):
            count += len(piece)
            crc = zlib.crc32(piece, crc)
        assert growth() < MOST_GROWTH

    assert b"\r\nContent-Length: %d\r\n" % GIBIBYTE in head
    assert (count, crc) == (GIBIBYTE, checksum(GIBIBYTE))
    [call] = echo_portal.calls(request_id=echo.last.values("X-Request-ID")[0])
    assert (call["status"], call["bytes_out"], call["reason"]) == (200, GIBIBYTE, "")


def until_head_ends(connection: socket.socket) -> tuple[bytes, bytes, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(4096)
        assert piece, "the portal closed the connection before the answer's body"
        received += piece
    return received.partition(b"\r\n\r\n")


def reset(connection: socket.socket) -> None:
    """Close with a reset, as a process that is killed does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize("leave", [socket.socket.close, reset], ids=["closed", "reset"])
@pytest.mark.parametrize(
    ("length", "sent"),
    [
        ("Content-Length: 1000000", HALF),
        ("Content-Length: 1000000", HALF + HALF[:-1]),
        ("Transfer-Encoding: chunked", b"%x\r\n%b" % (2 * len(HALF), HALF)),
        ("Transfer-Encoding: chunked", b"%x\r\n%b\r\n" % (len(HALF), HALF)),
        ("Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n" % (len(HALF), HALF)),
    ],
    ids=["half", "all-but-one-byte", "in-a-chunk", "between-chunks", "before-the-last-line"],
)
def test_half_an_upload_never_becomes_a_whole_one(length, sent, leave, echo, echo_portal, echo_key):
    connection = socket.create_connection(("127.0.0.1", echo_portal.port), timeout=20)
    connection.sendall(request("PUT", UPLOAD, echo_key, length) + sent)
    wait_for(lambda: echo.arriving)
    leave(connection)

    assert wait_for(lambda: echo.broken), "the connection to MLflow stays open"
    assert not echo.received
    [call] = echo_portal.calls(request_id=echo.broken[0].values("X-Request-ID")[0])
    assert (call["status"], call["reason"]) == (499, "client_gone")


def test_a_broken_off_download_ends_mlflows_and_is_recorded(echo, echo_portal, echo_key):
    echo.script = Script(size=GIBIBYTE)
    with socket.create_connection(("127.0.0.1", echo_portal.port), timeout=20) as connection:
        connection.sendall(request("GET", TARGET, echo_key))
        count = len(until_head_ends(connection)[2])
        while count < 2**20:
            count += len(connection.recv(65536))

    assert wait_for(lambda: echo.broken), "MLflow goes on sending"
    [call] = echo_portal.calls(request_id=echo.last.values("X-Request-ID")[0])
    assert (call["status"], call["reason"]) == (200, "cut_off")
    assert 2**20 <= call["bytes_out"] < 64 * 2**20


BROKEN_OFF = {
    "sized": b"Content-Length: 1000000\r\n\r\n" + HALF,
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(HALF), HALF),
    "in-a-chunk": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b" % (2 * len(HALF), HALF),
}


@pytest.mark.parametrize("answered", BROKEN_OFF.values(), ids=BROKEN_OFF)
def test_half_a_download_never_looks_whole(answered, echo, echo_portal, echo_key):
    echo.script = Script(raw=b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n" + answered)

    received = echo_portal.raw(request("GET", TARGET, echo_key))

    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    if b"Content-Length" in answered:
        assert b"\r\nContent-Length: 1000000" in head
        assert len(body) < 1_000_000
    else:
        assert b"\r\nTransfer-Encoding: chunked" in head
        assert not body.endswith(b"0\r\n\r\n")
    [call] = echo_portal.calls(request_id=echo.last.values("X-Request-ID")[0])
    assert call["reason"] == "cut_off"


def test_over_http_1_0_too(echo, echo_portal, echo_key):
    """Without a length, only a reset connection tells that the rest is missing."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
    asked = request("GET", TARGET, echo_key).replace(b"HTTP/1.1", b"HTTP/1.0")
    for answered, is_whole in ((BROKEN_OFF["chunked"], False), (BROKEN_OFF["chunked"] + b"0\r\n\r\n", True)):
        echo.script = Script(raw=head + answered)
        with socket.create_connection(("127.0.0.1", echo_portal.port), timeout=20) as connection:
            connection.sendall(asked)
            received, is_reset = b"", False
            try:
                while piece := connection.recv(65536):
                    received += piece
            except ConnectionResetError:
                is_reset = True

        assert b"Content-Length" not in received
        assert is_reset is not is_whole
        if is_whole:
            assert received.endswith(HALF)


def test_pieces_come_down_as_they_are_made(echo, echo_portal, echo_key):
    """A trace or a log that is still being written is read while it grows."""
    later = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def mlflow() -> None:
        connection, _ = listener.accept()
        while b"GET /version" in connection.recv(65536):  # from the portal itself
            connection.close()
            connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            later.wait(20)
            connection.sendall(b"4\r\nlast\r\n0\r\n\r\n")

    upstream = threading.Thread(target=mlflow)
    upstream.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with (
        portal(mlflow_url=url, database=echo_portal.database) as running,
        socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection,
    ):
        connection.sendall(request("GET", TARGET, echo_key))
        received = b""
        while b"first" not in received:
            received += connection.recv(4096)
        assert b"last" not in received
        later.set()
        received += answer(connection)
    upstream.join()
    listener.close()
    assert parsed(received).body == b"firstlast"


def test_a_restart_of_mlflow_between_two_calls_goes_unnoticed(echo_portal, echo_key):
    server = EchoServer()
    port = server.server_port
    with portal(mlflow_url=server.url, database=echo_portal.database) as running:
        for _ in range(2):
            assert running.request("GET", GET_EXPERIMENT, key=echo_key["key"]).status == 200
            assert running.request("POST", SEARCH, key=echo_key["key"], body={}).status == 200
            server.stop()
            server = restarted(port)
        assert running.request("GET", GET_EXPERIMENT, key=echo_key["key"]).status == 200
    server.stop()


def restarted(port: int) -> EchoServer:
    deadline = time.monotonic() + 10
    while True:
        try:
            return EchoServer(port)
        except OSError:
            if time.monotonic() > deadline:
                raise


def test_head_on_an_artifact_is_a_get_at_mlflow_without_the_body(echo, echo_portal, echo_key):
    echo.script = Script(body=b"weights")
    reply = echo_portal.request("HEAD", TARGET, key=echo_key["key"])

    assert (reply.status, reply.headers["Content-Length"], reply.body) == (200, "7", b"")
    assert echo.last.method == "GET"
