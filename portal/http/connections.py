"""A client's connection, and the beginning of its next request as the event loop reads it."""

import json
import re
import secrets
import select
import socket
import time
from dataclasses import dataclass, field
from typing import Any

from gunicorn.http.errors import (
    ExpectationFailed,
    LimitRequestHeaders,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.gthread import TConn

from portal.http.sockets import PIECE, ClientSocket, RequestBody
from proxy.request.bodies import SMALL_BODY

MAX_LINE = (
    64 * 1024
)  # bytes of a request line: MLflow's client asks for the metrics of 1,000 runs in one address
MAX_HEAD = MAX_LINE + 64 * 1024  # bytes

DISCARD_SECONDS, DISCARD_PAUSE = 900.0, 2.0  # of a body: altogether, and without a byte

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*(?=\r\n)", re.IGNORECASE)
UNKNOWN_LENGTH = re.compile(rb"\r\n(?:transfer-encoding|expect)[ \t]*:", re.IGNORECASE)
BAD_REQUEST = (400, "Bad Request")
STATUS_OF = {
    UnsupportedTransferCoding: (501, "Not Implemented"),
    ExpectationFailed: (417, "Expectation Failed"),
    LimitRequestHeaders: (431, "Request Header Fields Too Large"),
}
TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n")
CR = 13


class Connection(TConn):  # type: ignore[misc]
    """A connection, and the bytes received of its next request."""

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any) -> None:
        super().__init__(cfg, ClientSocket(fileno=sock.detach()), client, server)
        self.data_ready = True
        self.received = bytearray()
        self.searched = 0  # bytes that do not contain the end of the head
        self.needed = 0  # bytes after which the request can be served; 0: not known yet
        self.discarded = 0
        self.body: RequestBody  # of the request that is being served
        self.keepalive = False  # whether the connection stays open after the response
        self.last_unsent = 0  # bytes that were unsent at the last check
        self.poller = select.poll()  # for the thread that serves it
        self.poller.register(self.sock, select.POLLIN)

    def begin(self, received: bytes = b"") -> None:
        """Start with the next request."""
        self.received = bytearray(received)
        self.searched = self.needed = 0

    def is_ready(self) -> bool:
        """Whether the head, and a small body with it, has arrived."""
        if not self.needed:
            end = self.received.find(b"\r\n\r\n", max(0, self.searched - 3))
            if end < 0 or self.is_line_too_long:
                self.searched = len(self.received)
                return False
            self.needed = end + 4 + self.small_body(bytes(self.received[: end + 2]))
        return len(self.received) >= self.needed

    @staticmethod
    def small_body(head: bytes) -> int:
        """The length of the body if the event loop reads it; 0 if the thread does."""
        if UNKNOWN_LENGTH.search(head):
            return 0
        lengths = CONTENT_LENGTH.findall(head)
        length = int(lengths[0]) if len(lengths) == 1 else 0
        return length if length <= SMALL_BODY else 0

    @property
    def problem(self) -> tuple[int, str, str] | None:
        """Status, reason phrase and message if the received bytes cannot become a request."""
        if self.needed or not self.received:
            return None
        if self.is_line_too_long:
            return (
                414,
                "URI Too Long",
                f"The request's address has more than {MAX_LINE:,} bytes. Name fewer objects in one call.",
            )
        if len(self.received) > MAX_HEAD:
            return 431, "Request Header Fields Too Large", "The request's headers are too large."
        if self.received[0] not in TOKEN:
            return 400, "Bad Request", "This is not HTTP; for https, use the address with TLS."
        if (end := self.received.find(b"\n")) >= 0 and self.received[max(end - 1, 0)] != CR:
            return 400, "Bad Request", "A line of the request does not end with CR LF."
        return None

    @property
    def is_line_too_long(self) -> bool:
        return len(self.received) > MAX_LINE and not 0 <= self.received.find(b"\r\n") <= MAX_LINE

    @property
    def path(self) -> bytes:
        """The path in the request line, as it was sent; b"" if there is none."""
        target = bytes(self.received).partition(b"\r\n")[0].split(b" ")[1:2]
        return target[0].partition(b"?")[0] if target else b""

    def take(self) -> bytes:
        received, self.received = bytes(self.received), bytearray()
        return received


def receive(sock: socket.socket) -> bytes | None:
    """The bytes that have arrived: empty at the end or loss of the connection, None if nothing has arrived yet."""
    try:
        return sock.recv(PIECE)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:
        return b""


def receive_now(sock: socket.socket) -> bytes:
    """The bytes that have arrived, on a socket with a timeout."""
    timeout = sock.gettimeout()
    sock.settimeout(0.0)
    try:
        return receive(sock) or b""
    finally:
        sock.settimeout(timeout)


@dataclass
class Discard:
    """When the discarding of a body began, and when its last bytes arrived (monotonic clock)."""

    began: float = field(default_factory=time.monotonic)
    moved: float = field(default_factory=time.monotonic)

    def is_over(self, now: float) -> bool:
        return now - self.moved > DISCARD_PAUSE or now - self.began > DISCARD_SECONDS


def status_of(error: ParseException) -> tuple[int, str]:
    """The status and reason phrase for invalid HTTP."""
    return next((status for kind, status in STATUS_OF.items() if isinstance(error, kind)), BAD_REQUEST)


def error_response(status: int, reason: str, message: str) -> bytes:
    """An error in MLflow's form, sent by the server itself where there is no request to pass on."""
    request_id = f"req_{secrets.token_hex(16)}"
    content = {"error_code": "INVALID_PARAMETER_VALUE", "message": message, "request_id": request_id}
    body = json.dumps(content).encode()
    head = (
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"X-Request-ID: {request_id}\r\nCache-Control: private, no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
