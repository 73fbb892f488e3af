"""A client for plain HTTP: JSON calls to MLflow cost a fraction of what they cost with urllib3 (`benchmarks.clients`).

It sends requests whose body is in memory, and reads responses of any length as a stream. httptools, the parser of
uvicorn, reads them. Everything else is urllib3's: TLS, streamed uploads, and transfers that wait for a store
(`proxy.upstream.client`). A response must state where it ends. Timeouts are the kernel's (SO_RCVTIMEO), so that a wait
takes one system call.
"""

import contextlib
import re
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httptools
from urllib3.exceptions import NewConnectionError

from proxy.upstream.response_headers import ResponseHeaders, is_delimited

TARGET = re.compile(r"[!-~]+")
VALUE = re.compile(r"[^\r\n\0]*")
PIECE = 64 * 1024  # bytes received at once
MAX_HEAD = 64 * 1024  # bytes received without a byte of the body: headers, trailers, extensions of chunks
SILENT_SECONDS = 300.0  # for which a server that did not send `100 Continue` in time is not asked again
BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})  # whose requests state a length even without a body


class BrokenResponse(OSError):
    """The server closed the connection before its response, or sent something that is no HTTP response."""


class UndelimitedResponse(OSError):
    """The response broke within its headers, or does not state where it ends."""


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """In seconds: for connecting, for `100 Continue`, and for every other wait."""

    connect: float
    asking: float
    idle: float


class Connection:
    """A connection to the server, for one request at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.message = Message()
        self.poller = select.poll()
        self.poller.register(sock, select.POLLIN)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        self.message.parser = None  # which refers to the message
        self.sock.close()

    def is_stale(self) -> bool:
        """Whether the server has closed the connection, or sent bytes that nobody asked for."""
        return self.wait(0)

    def wait(self, seconds: float) -> bool:
        """Whether bytes arrive, or the connection ends, within this time."""
        return bool(self.poller.poll(seconds * 1000))

    def receive(self) -> bytes:
        """More bytes; b"" at the end. Raises TimeoutError."""
        try:
            return self.sock.recv(PIECE)
        except BlockingIOError:
            raise TimeoutError("the server sends nothing") from None

    def send(self, content: bytes) -> None:
        """Send the request. A server may refuse it, and close the connection, before it has read all of it."""
        try:
            with contextlib.suppress(BrokenPipeError):
                self.sock.sendall(content)
        except BlockingIOError:
            raise TimeoutError("the server reads nothing") from None


class Message:
    """What httptools has found of the response that arrives on a connection, whose parser reads one after the other.

    Not part of `PlainResponse` or `Connection`: parser and message refer to each other, and a response that nobody
    reads any more must close its connection at once."""

    def __init__(self) -> None:
        self.begin()
        self.parser: Any = httptools.HttpResponseParser(self)

    def begin(self) -> None:
        """Start with the next response."""
        self.status = 0
        self.pairs: list[tuple[str, str]] = []
        self.parts: list[bytes] = []  # of the body, not yet streamed
        self.has_head = self.is_complete = self.has_surplus = self.is_kept_alive = False

    def on_message_begin(self) -> None:
        self.has_surplus = self.is_complete

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.has_head:  # otherwise a trailer
            self.pairs.append((name.decode("latin-1"), value.rstrip(b" \t").decode("latin-1")))

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if status < 200:  # interim
            self.pairs.clear()
        elif not self.has_head:
            self.has_head, self.status = True, status
            self.is_kept_alive = self.parser.should_keep_alive()

    def on_body(self, piece: bytes) -> None:
        if not self.is_complete:
            self.parts.append(piece)

    def on_message_complete(self) -> None:
        self.is_complete = self.has_head

    def feed(self, piece: bytes) -> None:
        """Raises BrokenResponse."""
        try:
            self.parser.feed_data(piece)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.is_complete:
                raise BrokenResponse(f"not an HTTP response: {error}") from error
            self.has_surplus = True

    def take_parts(self) -> list[bytes]:
        parts, self.parts = self.parts, []
        return parts


class PlainResponse:
    """A response: its status, its headers, and its body as a stream. A connection whose response was received
    completely is used again."""

    def __init__(self, pool: "PlainPool", connection: Connection) -> None:
        self.pool, self.connection, self.message = pool, connection, connection.message
        self.message.begin()
        self.status = 0
        self.headers = ResponseHeaders()
        self.parts: list[bytes] = []  # of the body, not yet streamed
        self.unused = 0  # bytes received since the last byte of the body
        self.is_closed = self.is_complete = False
        while not self.status:
            self.receive()
        if not is_delimited(self.status, self.headers):
            raise UndelimitedResponse("the response does not state its length")

    def receive(self) -> None:
        """Receive more. Raises BrokenResponse, UndelimitedResponse and TimeoutError."""
        message, piece = self.message, self.connection.receive()
        if not piece:
            if self.unused and not message.has_head:
                raise UndelimitedResponse("the response ended within its headers")
            raise BrokenResponse("the response ended early")
        message.feed(piece)
        self.unused = 0 if message.parts else self.unused + len(piece)
        self.parts += message.take_parts()
        if message.has_head and not self.status:
            self.status, self.headers = message.status, ResponseHeaders(message.pairs)
        if message.is_complete:
            self.finish()
        elif self.unused > MAX_HEAD:
            raise BrokenResponse("the response's headers or trailers are too long")

    def stream(self, size: int = 0, decode_content: bool = False) -> Iterator[bytes]:
        """The body in pieces, as it was received. Raises OSError if it ends early."""
        try:
            while True:
                parts, self.parts = self.parts, []
                yield from parts
                if self.is_complete:
                    return
                if self.is_closed:
                    raise BrokenResponse("the response was closed")
                self.receive()
        finally:
            self.close()

    def finish(self) -> None:
        """The response was received completely. From now on, the connection may be another call's."""
        self.is_closed = self.is_complete = True
        message = self.message
        # After a 5xx, MLflow's server may close the connection a moment later without saying so.
        if message.is_kept_alive and not message.has_surplus and message.status < 500:
            self.pool.keep(self.connection)
        else:
            self.connection.close()

    def close(self) -> None:
        """Close the connection unless the response was received completely."""
        if not self.is_closed:
            self.is_closed = True
            self.connection.close()

    def release_conn(self) -> None:
        """Do nothing: the connection is kept as soon as the response has been received."""


class PlainPool:
    """Kept-alive connections to one server. Thread-safe."""

    def __init__(
        self, host: str, port: int, *, most: int, options: Iterable[tuple[int, int, int]] = ()
    ) -> None:
        self.host, self.port, self.most, self.options = host, port, most, list(options)
        self.idle: deque[Connection] = deque()
        self.silent_until = 0.0  # on the monotonic clock

    def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        timeouts: Timeouts,
        on_connect: Callable[[], None],
        asks_first: bool = False,
    ) -> PlainResponse:
        """Send a request. Raises NewConnectionError if there is no connection, ValueError for a header that cannot be
        sent, and otherwise OSError: the server may have received the request.

        With `asks_first`, the body follows when the server has asked for it (`Expect: 100-continue`). If the server
        closes the connection before it has seen the body, it cannot have carried out the call: NewConnectionError.
        """
        asks_first = asks_first and time.monotonic() >= self.silent_until
        head = encode(method, target, {**headers, "Expect": "100-continue"} if asks_first else headers, body)
        connection = self.take() or self.connect(timeouts, on_connect)
        try:
            if asks_first:
                self.ask(connection, head, timeouts)
                connection.send(body or b"")
            else:
                connection.send(head + (body or b""))
            return PlainResponse(self, connection)
        except BaseException:
            connection.close()
            raise

    def ask(self, connection: Connection, head: bytes, timeouts: Timeouts) -> None:
        try:
            connection.send(head)
            if not connection.wait(timeouts.asking):
                self.silent_until = time.monotonic() + SILENT_SECONDS
            elif not connection.sock.recv(1, socket.MSG_PEEK):
                raise ConnectionResetError("closed before 100 Continue")
        except OSError as error:
            raise unconnected(self, error) from error

    def take(self) -> Connection | None:
        """The connection that was used last and still works."""
        while True:
            try:
                connection = self.idle.pop()
            except IndexError:
                return None
            if not connection.is_stale():
                return connection
            connection.close()

    def keep(self, connection: Connection) -> None:
        self.idle.append(connection)
        if len(self.idle) > self.most:
            with contextlib.suppress(IndexError):  # another thread has taken them
                self.idle.popleft().close()

    def connect(self, timeouts: Timeouts, on_connect: Callable[[], None]) -> Connection:
        try:
            sock = socket.create_connection((self.host, self.port), timeouts.connect)
        except OSError as error:
            raise unconnected(self, error) from error
        sock.settimeout(None)
        timeout = struct.pack("ll", int(timeouts.idle), int(timeouts.idle % 1 * 1_000_000))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, timeout)
        for level, name, value in self.options:
            sock.setsockopt(level, name, value)
        on_connect()
        return Connection(sock)


def unconnected(pool: PlainPool, error: OSError) -> NewConnectionError:
    return NewConnectionError(pool, f"{type(error).__name__}: {error}")  # type: ignore[arg-type]  # only names it


def encode(method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """The head of the request. Raises ValueError for a target or header that would be read as more than one line."""
    if not TARGET.fullmatch(target):
        raise ValueError("the target contains characters that no target may contain")
    lines = [f"{method} {target} HTTP/1.1"]
    is_stated = False
    for name, value in headers.items():
        if not VALUE.fullmatch(value):
            raise ValueError(f"the header {name} contains a line break")
        is_stated = is_stated or name.lower() == "content-length"
        lines.append(f"{name}: {value}")
    if not is_stated and (body is not None or method in BODY_METHODS):
        lines.append(f"Content-Length: {len(body or b'')}")
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1")
