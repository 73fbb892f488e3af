"""Request bodies: counted, limited, never mistaken for whole; and byte for byte on the wire."""

import http.client
import io
import json
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.refusals import Refusal
from proxy.request.bodies import ClientGone, RequestBody, request_body
from tests.echo import BLOCK
from tests.portals import Reply, parsed, wait_for
from tests.proxy.forwarding.test_forwarding import GET_EXPERIMENT, UPLOAD, request


def read_all(body: RequestBody, size: int = 7) -> bytes:
    return b"".join(iter(lambda: body.read(size), b""))


@given(st.binary(min_size=1), st.integers(1, 40))
def test_a_body_is_read_whole_in_pieces_of_any_size(content, size):
    sized = RequestBody(io.BytesIO(content + b"next request"), length=len(content), limit=0)
    chunked = RequestBody(io.BytesIO(content), length=None, limit=0)

    assert read_all(sized, size) == read_all(chunked, size) == content
    assert sized.count == chunked.count == len(content)


def test_a_read_without_a_size_stops_at_the_bodys_end():
    assert RequestBody(io.BytesIO(b"bodynext request"), length=4, limit=0).read() == b"body"


def test_a_body_that_ends_early_is_no_body():
    body = RequestBody(io.BytesIO(b"half"), length=8, limit=0)

    with pytest.raises(ClientGone):
        read_all(body)
    assert body.count == 4


@pytest.mark.parametrize(
    "error", [ConnectionResetError(), TimeoutError(), ValueError("bad chunk"), Exception()]
)
def test_nothing_more_is_read_after_a_body_that_broke(error):
    class Broken:
        def read(self, size: int) -> bytes:
            raise error

    stream = Broken()
    with pytest.raises(ClientGone):
        RequestBody(stream, length=None, limit=0).read(10)
    with pytest.raises(ConnectionResetError):
        stream.read(1)


def test_a_body_over_the_limit_is_refused_before_a_byte_is_read():
    stream = io.BytesIO(b"x" * 11)

    with pytest.raises(Refusal) as caught:
        RequestBody(stream, length=11, limit=10)

    assert (caught.value.status, caught.value.error_code) == (413, "RESOURCE_EXHAUSTED")
    assert "Retry-After" not in caught.value.headers
    assert stream.tell() == 0


def test_a_chunked_body_is_refused_where_it_passes_the_limit():
    assert read_all(RequestBody(io.BytesIO(b"x" * 10), length=None, limit=10)) == b"x" * 10
    with pytest.raises(Refusal) as caught:
        read_all(RequestBody(io.BytesIO(b"x" * 11), length=None, limit=10))

    assert caught.value.status == 413


@pytest.mark.parametrize("meta", [{}, {"CONTENT_LENGTH": ""}, {"CONTENT_LENGTH": "0"}])
def test_a_request_without_a_body_has_none(meta):
    assert request_body(meta, limit=0) is None


@pytest.mark.parametrize(
    "meta",
    [
        {"CONTENT_LENGTH": "5", "HTTP_TRANSFER_ENCODING": "chunked"},
        {"CONTENT_LENGTH": "0", "HTTP_TRANSFER_ENCODING": "Chunked"},
        {"CONTENT_LENGTH": "-1"},
        {"CONTENT_LENGTH": "+5"},
        {"CONTENT_LENGTH": "5, 5"},
        {"CONTENT_LENGTH": "0x5"},
        {"CONTENT_LENGTH": "٥"},
    ],
)
def test_a_length_that_can_be_read_in_two_ways_is_refused(meta):
    with pytest.raises(Refusal) as caught:
        request_body({**meta, "wsgi.input": io.BytesIO()}, limit=0)

    assert caught.value.status == 400


# What portal and MLflow read alike, and what a proxy that parses and writes anew would change.
JSON = (
    '{ "name":"m\\u00f6d\\/el",\t"description": "ü \\ud83d\\ude00", "tags": [],\r\n "n": 1.0e0 }\n'.encode()
)
BODIES = {
    "POST": ("/api/2.0/mlflow/runs/search", JSON),
    "PUT": (UPLOAD.removeprefix("/api/mlflow"), bytes(range(256)) * 300),
    "PATCH": ("/api/2.0/mlflow/registered-models/update", JSON),
    "DELETE": ("/api/2.0/mlflow/registered-models/delete", JSON),
    "GET": ("/api/2.0/mlflow/experiments/get", b'{"experiment_id": "0"}'),
}


def chunks(content: bytes, *, size: int = 1000, extension: bytes = b"") -> bytes:
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.postgresql
class TestOnTheWire:
    @pytest.mark.parametrize("method", BODIES)
    def test_a_body_arrives_byte_for_byte(self, method, echo, echo_portal, echo_key):
        path, body = BODIES[method]
        lines = (f"Content-Length: {len(body)}", "Content-Type: application/json")
        reply = echo_portal.exchange(request(method, f"/api/mlflow{path}", echo_key, *lines), body)

        assert reply.status == 200
        assert (echo.last.method, echo.last.target, echo.last.body) == (method, path, body)
        assert echo.last.values("Content-Length") == [str(len(body))]
        assert echo.last.values("Content-Type") == ["application/json"]
        [call] = echo_portal.calls(request_id=reply.headers["X-Request-ID"])
        assert call["bytes_in"] == len(body)

    @pytest.mark.parametrize("extension", [b"", b";name=value", b' ; q="a;b"'])
    @pytest.mark.parametrize("method", BODIES)
    def test_a_chunked_body_arrives_byte_for_byte(self, method, extension, echo, echo_portal, echo_key):
        path, body = BODIES[method]
        lines = ("Transfer-Encoding: chunked", "Content-Type: application/json")
        reply = echo_portal.exchange(
            request(method, f"/api/mlflow{path}", echo_key, *lines), chunks(body, extension=extension)
        )

        assert reply.status == 200
        assert (echo.last.method, echo.last.target, echo.last.body) == (method, path, body)

    @pytest.mark.parametrize("lines", [("Content-Length: 0",), (), ("Transfer-Encoding: chunked",)])
    def test_an_empty_body_stays_empty(self, lines, echo, echo_portal, echo_key):
        head = request("POST", "/api/mlflow/api/2.0/mlflow/runs/search", echo_key, *lines)
        reply = echo_portal.exchange(head, b"0\r\n\r\n" if "chunked" in str(lines) else b"")

        assert (reply.status, echo.last.length) == (200, 0)

    def test_a_compressed_body_passes_as_it_is(self, echo, echo_portal, echo_key):
        lines = (f"Content-Length: {len(BLOCK)}", "Content-Encoding: gzip")
        reply = echo_portal.exchange(request("PUT", UPLOAD, echo_key, *lines), BLOCK)

        assert (reply.status, echo.last.body) == (200, BLOCK)
        assert echo.last.values("Content-Encoding") == ["gzip"]

    def test_a_client_that_asks_first_is_told_to_go_on(self, echo, echo_portal, echo_key):
        head = request("PUT", UPLOAD, echo_key, "Content-Length: 4", "Expect: 100-continue")
        received = echo_portal.raw(head, b"data")

        interim, _, rest = received.partition(b"\r\n\r\n")
        assert interim == b"HTTP/1.1 100 Continue"
        assert (parsed(rest).status, echo.last.body) == (200, b"data")
        assert "expect" not in echo.last.names

    @pytest.mark.parametrize("is_chunked", [False, True])
    def test_json_and_artifacts_have_limits_of_their_own(self, is_chunked, echo, second_portal, second_key):
        search = "/api/mlflow/api/2.0/mlflow/runs/search"
        for method, target, size, status in (
            ("POST", search, 2000, 200),
            ("POST", search, 2001, 413),
            ("PUT", UPLOAD, 100_000, 200),
            ("PUT", UPLOAD, 100_001, 413),
        ):
            content = json.dumps({"filter": ""}).encode().ljust(size)
            length = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {size}"
            reply = second_portal.exchange(
                request(method, target, second_key, length), chunks(content) if is_chunked else content
            )
            assert reply.status == status
            if status == 413:
                assert reply.json()["error_code"] == "RESOURCE_EXHAUSTED"
                assert not reply.headers["Retry-After"]
        assert [len(received.body) for received in echo.received] == [2000, 100_000]
        if is_chunked:  # it was on its way when it turned out to be too long
            assert wait_for(lambda: echo.broken), "the connection to MLflow stays open"


PUT = f"PUT {UPLOAD} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer KEY\r\n".encode()
SMUGGLED = f"GET {GET_EXPERIMENT} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer KEY\r\n\r\n".encode()
# Each can be read as one request or as two, or as two different ones.
AMBIGUOUS = {
    "both lengths": PUT + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "both lengths, swapped": PUT
    + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "two lengths": PUT + b"Content-Length: 0\r\nContent-Length: 4\r\n\r\ndata" + SMUGGLED,
    "two equal lengths": PUT + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\ndata" + SMUGGLED,
    "a list of lengths": PUT + b"Content-Length: 4, 4\r\n\r\ndata" + SMUGGLED,
    "a signed length": PUT + b"Content-Length: +4\r\n\r\ndata" + SMUGGLED,
    "a negative length": PUT + b"Content-Length: -4\r\n\r\ndata" + SMUGGLED,
    "a length with an underscore": PUT + b"Content-Length: 0_4\r\n\r\ndata" + SMUGGLED,
    "an unknown coding": PUT + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked not last": PUT + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked twice": PUT + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a coding with a control": PUT + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a space before the colon": PUT + b"Content-Length : 4\r\n\r\ndata" + SMUGGLED,
    "a folded header": PUT + b"X-A: b\r\n Content-Length: 4\r\nContent-Length: 4\r\n\r\ndata" + SMUGGLED,
    "a bare newline in a header": PUT + b"X-A: b\nContent-Length: 4\r\n\r\ndata" + SMUGGLED,
    "a bare return in a header": PUT + b"X-A: b\rContent-Length: 4\r\n\r\ndata" + SMUGGLED,
    "a NUL in a header": PUT + b"X-A: b\x00\r\nContent-Length: 4\r\n\r\ndata" + SMUGGLED,
    "two hosts": PUT + b"Host: evil.example\r\nContent-Length: 4\r\n\r\ndata" + SMUGGLED,
    "no version": PUT.replace(b" HTTP/1.1", b"") + b"Content-Length: 4\r\n\r\ndata" + SMUGGLED,
    "an odd version": PUT.replace(b"HTTP/1.1", b"HTTP/1.10") + b"Content-Length: 4\r\n\r\ndata" + SMUGGLED,
}
BAD_CHUNKS = {
    "a size in 0x": b"0x4\r\ndata\r\n0\r\n\r\n",
    "a signed size": b"+4\r\ndata\r\n0\r\n\r\n",
    "a negative size": b"-4\r\ndata\r\n0\r\n\r\n",
    "a size with an underscore": b"0_4\r\ndata\r\n0\r\n\r\n",
    "a size after a space": b" 4\r\ndata\r\n0\r\n\r\n",
    "no size": b"\r\ndata\r\n0\r\n\r\n",
    "a size that is too small": b"3\r\ndata\r\n0\r\n\r\n",
    "a size that ends in a bare newline": b"4\ndata\r\n0\r\n\r\n",
    "a chunk that ends in a bare newline": b"4\r\ndata\n0\r\n\r\n",
    "a bare return in an extension": b"4;a\rb\r\ndata\r\n0\r\n\r\n",
    "a trailer that is a length": b"4\r\ndata\r\n0\r\nContent-Length: 9\r\n\r\n",
    "a trailer that is a credential": b"4\r\ndata\r\n0\r\nAuthorization: Bearer x\r\n\r\n",
}


@pytest.mark.postgresql
class TestSmuggling:
    @pytest.mark.parametrize("raw", AMBIGUOUS.values(), ids=AMBIGUOUS)
    def test_an_ambiguous_request_is_refused_and_hides_no_other(self, raw, echo, echo_portal, echo_key):
        received = echo_portal.raw(raw.replace(b"KEY", echo_key["key"].encode()))

        reply = parsed(received)
        assert reply.status in (400, 501)
        assert reply.json()["request_id"] == reply.headers["X-Request-ID"]
        assert received.count(b"HTTP/1.1 ") == 1
        assert not echo.received

    @pytest.mark.parametrize("content", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
    def test_a_bad_chunk_never_makes_a_whole_upload(self, content, echo, echo_portal, echo_key):
        head = PUT.replace(b"KEY", echo_key["key"].encode()) + b"Transfer-Encoding: chunked\r\n\r\n"
        smuggled = SMUGGLED.replace(b"KEY", echo_key["key"].encode())
        received = echo_portal.raw(head + content + smuggled, smuggled)

        assert received.count(b"HTTP/1.1 ") == 1
        assert received.count(b"HTTP/1.1 400") == 1
        assert wait_for(lambda: echo.broken), "the connection to MLflow stays open"
        assert not echo.received

    def test_requests_that_arrive_together_are_all_answered(self, echo_portal):
        request = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        last = request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")

        assert echo_portal.raw(request * 3 + last).count(b"HTTP/1.1 200") == 4

    def test_a_call_after_a_refused_body_is_answered_on_the_same_connection(self, echo_portal, echo_key):
        body = b"{}"
        refused = PUT.replace(b"Bearer KEY", b"Bearer nonsense") + b"Content-Length: %d\r\n\r\n" % len(body)
        last = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"

        received = echo_portal.raw((refused + body) * 20 + last)

        assert received.count(b"HTTP/1.1 401") == 20
        assert received.count(b"HTTP/1.1 200") == 1

    def test_the_body_of_a_refused_call_is_no_request(self, echo, echo_portal, echo_key):
        smuggled = SMUGGLED.replace(b"KEY", echo_key["key"].encode())
        head = PUT.replace(b"Bearer KEY", b"Bearer nonsense") + b"Content-Length: %d\r\n\r\n" % len(smuggled)
        with socket.create_connection(("127.0.0.1", echo_portal.port), timeout=20) as connection:
            connection.sendall(head + smuggled)
            assert one_answer(connection).status == 401
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert one_answer(connection).json() == {"status": "ok"}

        assert not echo.arriving

    def test_requests_on_one_connection_stay_apart(self, echo, echo_portal, echo_key):
        put = PUT.replace(b"KEY", echo_key["key"].encode())
        with socket.create_connection(("127.0.0.1", echo_portal.port), timeout=20) as connection:
            for sent in (
                put + b"Content-Length: 4\r\n\r\ndata",
                put + b"Transfer-Encoding: chunked\r\n\r\n" + chunks(b"more data"),
                SMUGGLED.replace(b"KEY", echo_key["key"].encode()),
            ):
                connection.sendall(sent)
                assert one_answer(connection).status == 200

        got = [(received.method, received.body) for received in echo.received]
        assert got == [("PUT", b"data"), ("PUT", b"more data"), ("GET", b"")]


def one_answer(connection: socket.socket) -> Reply:
    """The next answer on a connection that stays open."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return Reply(response.status, response.headers, response.read())
