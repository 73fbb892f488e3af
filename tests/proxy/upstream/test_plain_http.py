"""The client for plain HTTP: what it sends, and which responses it takes for complete."""

import socket
import threading

import pytest

from proxy.upstream import plain_http
from proxy.upstream.plain_http import BrokenResponse, PlainPool, Timeouts, UndelimitedResponse
from proxy.upstream.response_headers import ResponseHeaders


def fetch(*pieces: bytes) -> tuple[plain_http.PlainResponse, list[bytes], PlainPool]:
    """The response of a server that sends these pieces and closes the connection, its body, and the pool."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        connection.recv(65536)
        for piece in pieces:
            connection.sendall(piece)
        connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    pool = PlainPool("127.0.0.1", listener.getsockname()[1], most=2)
    try:
        timeouts = Timeouts(connect=5.0, asking=5.0, idle=5.0)
        response = pool.request("GET", "/", {}, None, timeouts=timeouts, on_connect=lambda: None)
        return response, list(response.stream()), pool
    finally:
        thread.join(5)
        listener.close()
        for connection in pool.idle:
            connection.sock.close()


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        (b"Content-Length: 5", b"hello", b"hello"),
        (b"Content-Length: 0", b"", b""),
        (b"Transfer-Encoding: chunked", b"3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: 1\r\n\r\n", b"hello"),
        (b"Transfer-Encoding: gzip, chunked", b"0\r\n\r\n", b""),
    ],
)
def test_a_response_ends_where_it_says(head, body, expected):
    for pieces in ([body], [body[:4], body[4:]]):
        response, received, pool = fetch(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n", *pieces)
        assert (response.status, b"".join(received)) == (200, expected)
        assert len(pool.idle) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n folded: 1\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * 200_000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: " + b"a" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
    ],
)
def test_a_broken_response_is_not_taken_for_complete(content):
    with pytest.raises(BrokenResponse):
        fetch(content)


@pytest.mark.parametrize("head", [b"", b"Connection: close\r\n", b"Transfer-Encoding: gzip\r\n"])
def test_a_response_must_state_where_it_ends(head):
    with pytest.raises(UndelimitedResponse):
        fetch(b"HTTP/1.1 200 OK\r\n" + head + b"\r\nhello")


@pytest.mark.parametrize(
    "content",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n",
        b"HTTP/1.1 500 Error\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nmore",
    ],
)
def test_such_a_connection_is_not_used_again(content):
    _, _, pool = fetch(content)
    assert not pool.idle


@pytest.mark.parametrize("status", [b"304 Not Modified", b"204 -"])
def test_some_responses_have_no_body(status):
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
    response, received, pool = fetch(interim + b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n")
    assert (received, len(pool.idle)) == ([], 1)
    assert response.headers.pairs == [("Content-Length", "5")]


@pytest.mark.parametrize(
    ("target", "headers"), [("/a b", {}), ("/\r\nX: 1", {}), ("/", {"A": "1\r\nB: 2"}), ("/", {"A": "\0"})]
)
def test_nothing_sends_a_second_header_or_request(target, headers):
    with pytest.raises(ValueError, match=r"line break|characters"):
        plain_http.encode("GET", target, headers, None)


def test_a_request_states_the_length_of_its_body():
    assert plain_http.encode("GET", "/", {}, None) == b"GET / HTTP/1.1\r\n\r\n"
    assert plain_http.encode("POST", "/", {}, None) == b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    assert plain_http.encode("DELETE", "/", {"A": "b"}, b"{}") == (
        b"DELETE / HTTP/1.1\r\nA: b\r\nContent-Length: 2\r\n\r\n"
    )


def test_headers_of_one_name_are_one_value():
    headers = ResponseHeaders([("Vary", "a"), ("ETag", "1"), ("vary", "b")])
    assert headers.items() == [("Vary", "a, b"), ("ETag", "1")]
    assert (headers["VARY"], headers.get("none"), "etag" in headers) == ("a, b", "", True)
    assert list(headers.iteritems()) == headers.pairs


def test_a_server_may_respond_and_leave_before_it_has_read_the_request():
    ours, theirs = socket.socketpair()
    theirs.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
    theirs.close()
    connection = plain_http.Connection(ours)
    connection.send(b"x" * 1_000_000)
    response = plain_http.PlainResponse(PlainPool("", 0, most=1), connection)

    assert (response.status, b"".join(response.stream())) == (413, b"big")
    assert ours.fileno() == -1


def test_a_response_that_nobody_reads_closes_its_connection_at_once():
    ours, theirs = socket.socketpair()
    theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\nhalf")
    response = plain_http.PlainResponse(PlainPool("", 0, most=1), plain_http.Connection(ours))
    del response

    assert ours.fileno() == -1
    theirs.close()


def test_one_connection_carries_one_response_after_the_other():
    ours, theirs = socket.socketpair()
    pool, connection = PlainPool("", 0, most=1), plain_http.Connection(ours)
    heads = (b"Transfer-Encoding: chunked\r\nA: 1", b"Content-Length: 2", b"Content-Length: 0\r\nB: 2")
    bodies = (b"3\r\nabc\r\n0\r\nTrailer: 1\r\n\r\n", b"de", b"")
    first = None
    for head, body, expected in zip(heads, bodies, (b"abc", b"de", b""), strict=True):
        theirs.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + body)
        response = plain_http.PlainResponse(pool, connection)
        assert pool.idle.pop() is connection
        if first is None:
            first = response  # whose body is read when the connection has carried others
        else:
            assert b"".join(response.stream()) == expected
    assert (response.headers.items(), first.headers["a"]) == ([("Content-Length", "0"), ("B", "2")], "1")
    assert b"".join(first.stream()) == b"abc"
    theirs.close()
