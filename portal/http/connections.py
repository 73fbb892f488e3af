"""Connections as they wait, so that no thread waits with them.

gunicorn's threaded worker gives a connection a thread as soon as it is there, and the thread waits for the
request's head as long as that takes. Here the loop that watches all connections reads the head, and a small body
with it, and only a request that can be served gets a thread. Large bodies are read by the thread that forwards
them; who sends or reads them too slowly is cut off. What the reader of an answer of our own does not take at once
the loop sends when it does. A connection that ends is not waited for by anybody either: the loop discards what still
comes for a while, so that the other side can read its answer (RFC 9112 §9.6).
"""

import contextlib
import errno
import json
import re
import resource
import secrets
import selectors
import socket
import time
from functools import partial
from typing import Any

from gunicorn.http.errors import (
    ExpectationFailed,
    LimitRequestHeaders,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.gthread import TConn, ThreadWorker

from portal.http import timeouts
from portal.http.timeouts import PIECE, PatientSocket, PatientUnreader, WholePieces
from proxy.request.bodies import SMALL_BODY

MOST_HEAD = 64 * 1024  # bytes
REQUEST_SECONDS = 30.0  # from a request's first byte until its head, and its small body, have come
KEPT_SECONDS = 75.0  # for the next request; a load balancer's usual 60 and more
LINGER_SECONDS, LINGER_BYTES = 5.0, 16 * 2**20
SWEEP_SECONDS = 1.0
MOST_WAITING_BYTES = 64 * 2**20  # held for all connections that wait, and again for all that are slow to read
MOST_FILES = 65_536

LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*(?=\r\n)", re.IGNORECASE)
UNTOLD = re.compile(rb"\r\n(?:transfer-encoding|expect)[ \t]*:", re.IGNORECASE)
TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n")

CR = 13
BAD_REQUEST = (400, "Bad Request")
STATUS_OF = {
    UnsupportedTransferCoding: (501, "Not Implemented"),
    ExpectationFailed: (417, "Expectation Failed"),
    LimitRequestHeaders: (431, "Request Header Fields Too Large"),
}


class Connection(TConn):  # type: ignore[misc]
    """A connection and what has come of its next request."""

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any) -> None:
        super().__init__(cfg, PatientSocket(fileno=sock.detach()), client, server)
        self.data_ready = True
        self.received = bytearray()
        self.looked_at = 0  # bytes in which no head ends
        self.whole = 0  # bytes after which the request can be served; 0: not known yet
        self.discarded = 0
        self.keepalive = False  # whether it goes on when all is sent
        self.left = 0  # bytes that were not sent when that was last looked at

    def begin(self, received: bytes = b"") -> None:
        """The next request's turn."""
        self.received = bytearray(received)
        self.looked_at = self.whole = 0

    def is_ready(self) -> bool:
        if not self.whole:
            end = self.received.find(b"\r\n\r\n", max(0, self.looked_at - 3))
            if end < 0:
                self.looked_at = len(self.received)
                return False
            self.whole = end + 4 + self.small_body(bytes(self.received[: end + 2]))
        return len(self.received) >= self.whole

    @staticmethod
    def small_body(head: bytes) -> int:
        """The length of a body that is waited for; of all others the thread sees to it."""
        if UNTOLD.search(head):
            return 0
        lengths = LENGTH.findall(head)
        length = int(lengths[0]) if len(lengths) == 1 else 0
        return length if length <= SMALL_BODY else 0

    @property
    def problem(self) -> tuple[int, str, str] | None:
        """Why what has come can never be a request."""
        if self.whole or not self.received:
            return None
        if len(self.received) > MOST_HEAD:
            return 431, "Request Header Fields Too Large", "The request's headers are too large."
        if self.received[0] not in TOKEN:
            return 400, "Bad Request", "This is not HTTP; for https, use the address with TLS."
        if (end := self.received.find(b"\n")) >= 0 and self.received[max(end - 1, 0)] != CR:
            return 400, "Bad Request", "A line of the request does not end with CR LF."
        return None

    def take(self) -> bytes:
        received, self.received = bytes(self.received), bytearray()
        return received


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker, whose threads serve requests and wait for nothing but their large bodies."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.waiting: dict[Connection, float] = {}  # until when; idle between requests, or a request arriving
        self.sending: dict[Connection, float] = {}  # until when some of it has to be sent
        self.lingering: dict[Connection, float] = {}
        self.held = 0  # bytes received of requests that wait
        self.swept = 0.0

    def init_process(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        super().init_process()

    # A connection comes, waits, is served, waits again, and ends: all in the loop's thread but the serving

    def accept(self, listener: Any) -> None:
        try:
            sock, address = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self.make_room()
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        self.wait(Connection(self.cfg, sock, address, listener.getsockname()), REQUEST_SECONDS)

    def wait(self, conn: Connection, seconds: float) -> None:
        conn.sock.setblocking(False)
        self.waiting[conn] = time.monotonic() + seconds
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_readable, conn))

    def on_readable(self, conn: Connection, sock: socket.socket) -> None:
        try:
            piece = sock.recv(PIECE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            piece = b""
        if not piece:
            self.drop(conn)
            return
        if not conn.received:
            self.waiting[conn] = time.monotonic() + REQUEST_SECONDS
        conn.received += piece
        self.held += len(piece)
        self.proceed(conn)
        if self.held > MOST_WAITING_BYTES:
            self.make_room()

    def proceed(self, conn: Connection) -> None:
        """Give the connection a thread if its request is there."""
        if conn.is_ready():
            self.forget(conn)
            self.enqueue_req(conn)
        elif problem := conn.problem:
            self.answer(conn, *problem)

    def handle(self, conn: Connection) -> Any:
        conn.init()
        if not isinstance(conn.parser.unreader, PatientUnreader):
            conn.parser.unreader = PatientUnreader(conn.sock)
        conn.parser.unreader.until = float("inf")
        conn.parser.unreader.unread(conn.take())
        return super().handle(conn)

    def handle_request(self, req: Any, conn: Connection) -> Any:
        req.body = WholePieces(req.body.reader, conn.parser.unreader)
        try:
            return super().handle_request(req, conn)
        finally:
            conn.sock.end_answer()

    def handle_error(self, req: Any, client: socket.socket, address: Any, error: Exception) -> None:
        """Bytes that are not HTTP get the same form of answer as everything else."""
        if not isinstance(error, ParseException):
            super().handle_error(req, client, address, error)
            return
        status, reason = next(
            (told for kind, told in STATUS_OF.items() if isinstance(error, kind)), BAD_REQUEST
        )
        self.log.warning(
            "Invalid request from ip=%s: %s", address[0] if address else "", type(error).__name__
        )
        with contextlib.suppress(OSError):
            client.sendall(
                refusal(status, reason, f"The request is not valid HTTP ({type(error).__name__}).")
            )

    def _keepalive_after(self, conn: Connection, keepalive: Any) -> bool:
        """A body that nobody read is passed over if it has come already; else the connection ends."""
        try:
            return bool(keepalive and conn.parser.finish_body(deadline=time.monotonic() + 0.02))
        except OSError:  # gunicorn's of bad chunks are such too
            return False

    def finish_request(self, conn: Connection, future: Any) -> None:
        try:
            conn.keepalive = not future.cancelled() and future.result()
        except Exception:
            conn.keepalive = False
        if conn.sock.unsent:
            self.send_later(conn)
        else:
            self.go_on(conn)

    def send_later(self, conn: Connection) -> None:
        conn.sock.setblocking(False)
        conn.left = len(conn.sock.unsent)
        self.sending[conn] = time.monotonic() + timeouts.IDLE_SECONDS
        self.poller.register(conn.sock, selectors.EVENT_WRITE, partial(self.on_writable, conn))
        while sum(len(conn.sock.unsent) for conn in self.sending) > MOST_WAITING_BYTES:
            self.drop(next(iter(self.sending)))

    def on_writable(self, conn: Connection, sock: PatientSocket) -> None:
        try:
            sock.send_what_goes()
        except OSError:
            self.drop(conn)
            return
        if not sock.unsent:
            self.forget(conn)
            self.go_on(conn)

    def go_on(self, conn: Connection) -> None:
        """The answer has gone: to the next request, or to the end."""
        if not (conn.keepalive and self.alive):
            self.linger(conn)
            return
        conn.begin(conn.parser.unreader.take_buffered())
        self.held += len(conn.received)
        self.wait(conn, REQUEST_SECONDS if conn.received else KEPT_SECONDS)
        if conn.received:  # the poller would wait for a socket that has nothing more to say
            self.proceed(conn)

    def linger(self, conn: Connection) -> None:
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.nr_conns -= 1
            conn.close()
            return
        self.lingering[conn] = time.monotonic() + LINGER_SECONDS
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_lingering, conn))

    def on_lingering(self, conn: Connection, sock: socket.socket) -> None:
        try:
            piece = sock.recv(PIECE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            piece = b""
        conn.discarded += len(piece)
        if not piece or conn.discarded > LINGER_BYTES:
            self.drop(conn)

    def forget(self, conn: Connection) -> None:
        """The loop no longer watches this connection."""
        if self.waiting.pop(conn, None) is not None:
            self.held -= len(conn.received)
        self.sending.pop(conn, None)
        self.lingering.pop(conn, None)
        with contextlib.suppress(OSError, KeyError, ValueError):
            self.poller.unregister(conn.sock)

    def drop(self, conn: Connection) -> None:
        self.forget(conn)
        self.nr_conns -= 1
        conn.close()

    def answer(self, conn: Connection, status: int, reason: str, message: str) -> None:
        """Say no to what never became a request, without a thread; to whoever does not read it, nothing."""
        self.forget(conn)
        with contextlib.suppress(OSError):
            conn.sock.send(refusal(status, reason, message))
        self.linger(conn)

    # What has waited for too long, or is too much

    def murder_keepalived(self) -> None:
        """gunicorn's loop calls this once a turn."""
        now = time.monotonic()
        if now - self.swept < SWEEP_SECONDS:
            return
        self.swept = now
        for conn in [conn for conn, until in self.lingering.items() if until < now]:
            self.drop(conn)
        for conn in [conn for conn, until in self.sending.items() if until < now]:
            if conn.left - len(conn.sock.unsent) < timeouts.LEAST_BYTES:
                self.drop(conn)
            else:
                conn.left, self.sending[conn] = len(conn.sock.unsent), now + timeouts.IDLE_SECONDS
        for conn in [conn for conn, until in self.waiting.items() if until < now]:
            if conn.received:
                self.answer(conn, 408, "Request Timeout", "The request did not come whole in time.")
            else:
                self.drop(conn)

    def murder_pending(self) -> None:
        """All is done in the other."""

    def close_idle(self) -> None:
        """Before the end: connections whose next request is not arriving. Their first one still is: who has only
        just been let in has asked already, or is about to."""
        for conn in [conn for conn in self.waiting if not conn.received]:
            self.on_readable(conn, conn.sock)  # what has come meanwhile is heard
            if conn.initialized and conn in self.waiting and not conn.received:
                self.drop(conn)

    def has_newcomers(self) -> bool:
        """Whether somebody's first request has not come yet."""
        return any(not conn.initialized for conn in self.waiting)

    def make_room(self, count: int = 16) -> None:
        """Of those that wait the oldest go: connections that end, idle ones, slow requests, slow readers."""
        idle = [conn for conn in self.waiting if not conn.received]
        slow = [conn for conn in self.waiting if conn.received]
        for conn in [*self.lingering, *idle, *slow, *self.sending][:count]:
            self.drop(conn)

    def set_accept_enabled(self, enabled: bool) -> None:
        if self.alive and self.nr_conns >= self.worker_connections:
            self.make_room()
            enabled = self.nr_conns < self.worker_connections
        super().set_accept_enabled(enabled)


def refusal(status: int, reason: str, message: str) -> bytes:
    """An answer in MLflow's form by the server itself, which has no request to answer."""
    request_id = f"req_{secrets.token_hex(16)}"
    content = {"error_code": "INVALID_PARAMETER_VALUE", "message": message, "request_id": request_id}
    body = json.dumps(content).encode()
    head = (
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"X-Request-ID: {request_id}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
