"""What a thread reads from and writes to, on a pair of sockets."""

import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.errors import InvalidChunkSize

from portal.http import sockets
from portal.http.connections import Connection
from portal.http.event_loop import EventLoopWorker
from portal.http.sockets import ClientSocket, ClientUnreader, RequestBody
from tests.portal.http.test_connections import everything
from tests.portals import wait_for


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, ClientSocket]]:
    near, far = socket.socketpair()
    client = ClientSocket(fileno=far.detach())
    yield near, client
    near.close()
    client.close()


def test_a_socket_with_a_thread_waits_for_so_long(pair, monkeypatch):
    monkeypatch.setattr(sockets, "IDLE_SECONDS", 0.05)
    pair[1].setblocking(True)
    with pytest.raises(ConnectionResetError, match="client sends too slowly"):
        ClientUnreader(pair[1]).chunk()
    pair[1].wait_for_reader()
    with pytest.raises(ConnectionResetError, match="client reads too slowly"):
        pair[1].sendall(bytes(50_000_000))


def test_an_answer_of_our_own_is_kept_for_its_reader(pair):
    near, client = pair
    client.setblocking(True)
    client.sendall(b"a" * 2_000_000)
    client.sendall(b"b" * 1_000_000)
    assert len(client.unsent) > 2_000_000

    received = b""
    while len(received) < 3_000_000:
        received += near.recv(2**20)
        client.send_without_waiting()
    assert received == b"a" * 2_000_000 + b"b" * 1_000_000


def test_few_threads_wait_for_the_reader_of_a_long_one(pair, monkeypatch):
    near, client = pair
    monkeypatch.setattr(sockets, "long_responses", threading.BoundedSemaphore(1))
    monkeypatch.setattr(sockets, "TURN_SECONDS", 0.01)
    client.setblocking(True)
    whole = sockets.MAX_UNSENT + 1_000_000

    def read_once_it_is_waited_for() -> None:
        wait_for(lambda: client.has_turn)  # a reader who is there at once may take all without a wait
        everything(near)

    reading = threading.Thread(target=read_once_it_is_waited_for)
    reading.start()
    client.sendall(bytes(whole))
    client.shutdown(socket.SHUT_WR)
    reading.join()
    assert client.has_turn

    other, far = socket.socketpair()
    second = ClientSocket(fileno=far.detach())
    second.setblocking(True)
    with other, second, pytest.raises(ConnectionResetError, match="too many long responses"):
        second.sendall(bytes(whole))
    client.end_response()
    assert sockets.long_responses.acquire(timeout=0)


def test_a_long_answer_ends_if_its_reader_takes_little_or_nothing(pair, monkeypatch):
    near, client = pair
    monkeypatch.setattr(sockets, "LONG_SECONDS", 0.1)
    client.setblocking(True)
    with pytest.raises(ConnectionResetError, match="client reads too slowly"):
        client.sendall(bytes(sockets.MAX_UNSENT + 10_000_000))
    client.unsent.clear()
    monkeypatch.setattr(sockets, "LONG_SECONDS", 0.5)
    monkeypatch.setattr(sockets, "LONG_BYTES", 2**40)  # so much does this reader not take
    stopped = threading.Event()

    def read_slowly() -> None:
        while not stopped.wait(0.005):
            near.recv(sockets.PIECE)

    reader = threading.Thread(target=read_slowly)
    reader.start()
    try:
        with pytest.raises(ConnectionResetError, match="client reads too slowly"):
            client.sendall(bytes(100_000_000))
    finally:
        stopped.set()
        reader.join()
        client.end_response()


def test_a_body_is_read_to_its_length_and_no_further(pair):
    near, client = pair
    client.setblocking(True)
    unreader = ClientUnreader(client)
    unreader.unread(b"ab")
    near.sendall(b"cdefNEXT")
    body = RequestBody(LengthReader(unreader, 6))

    assert body.read(1) == b"a"
    assert body.read(3) == b"bcd"
    assert body.read() == b"ef"
    assert body.read() == body.read(5) == b""
    assert unreader.take_buffered() == b"NEXT"


def test_lines_and_reads_can_be_mixed(pair):
    near, client = pair
    client.setblocking(True)
    near.sendall(b"one\ntwo\nthree")
    body = RequestBody(LengthReader(ClientUnreader(client), 13))

    assert body.readline() == b"one\n"
    assert body.read(3) == b"two"
    assert body.read() == b"\nthree"


def test_a_line_between_chunks_has_a_limit(pair, monkeypatch):
    near, client = pair
    client.setblocking(True)
    unreader = ClientUnreader(client)
    near.sendall(b"3\r\nabc\r\n0\r\n\r\n")
    assert RequestBody(ChunkedReader(None, unreader), unreader).read() == b"abc"

    monkeypatch.setattr(sockets, "MAX_CHUNK_LINE", 8)
    near.sendall(b"3;name=value")
    with pytest.raises(InvalidChunkSize):
        RequestBody(ChunkedReader(None, unreader), unreader).read()


@pytest.mark.parametrize(
    ("head", "length"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n", 0),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n", 5),
        (b"POST / HTTP/1.1\r\ncontent-LENGTH:65536\r\n", 65536),
        (b"POST / HTTP/1.1\r\nContent-Length: 65537\r\n", 0),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n", 0),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", 0),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n", 0),
        (b"POST / HTTP/1.1\r\nX-Content-Length: 5\r\n", 0),
        (b"POST / HTTP/1.1\r\nContent-Length: +5\r\n", 0),
    ],
)
def test_only_a_small_body_of_a_certain_length_is_waited_for(head, length):
    assert Connection.small_body(head) == length


def test_a_connection_that_was_announced_as_kept_stays_however_late_its_thread_is(pair):
    """gunicorn gives up on the rest of a body when the time is over, also if there is no rest."""
    parser = SimpleNamespace(finish_body=lambda deadline: False)
    for length, expected in ((0, True), (1, False)):
        body = RequestBody(LengthReader(ClientUnreader(pair[1]), length))
        connection = SimpleNamespace(sock=SimpleNamespace(is_held=False), body=body, parser=parser)
        assert EventLoopWorker._keepalive_after(None, connection, True) is expected
