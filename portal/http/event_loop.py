"""The server's event loop, which waits for clients so that no thread has to.

gunicorn's threaded worker gives each new connection a thread, and the thread waits for the request's head as long as
that takes. Here the event loop, which watches all connections, reads the head and a small body, and only a complete
request gets a thread. The thread that forwards a large body reads it; a client that sends or reads too slowly is
disconnected. If the client does not read a response of the portal's own at once, the loop sends the rest later. If a
request is refused before its body has arrived, the loop discards the body first, within limits, and then responds. No
thread waits for the end of a connection either: the loop discards what still arrives for a while, so that the client
can read the response (RFC 9112 section 9.6).

Health checks and sign-in have threads of their own, so that they respond whatever occupies the others.
"""

import contextlib
import errno
import resource
import selectors
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from gunicorn.http.errors import ParseException
from gunicorn.workers.gthread import ThreadWorker

from portal.http import sockets
from portal.http.connections import Connection, Discard, error_response, receive, receive_now, status_of
from portal.http.sockets import ClientSocket, ClientUnreader, RequestBody

REQUEST_SECONDS = 30.0  # from a request's first byte until its head, and its small body, have arrived
KEEPALIVE_SECONDS = 75.0  # for the next request; longer than the usual 60 of load balancers
LINGER_SECONDS, LINGER_BYTES = 5.0, 16 * 2**20
# Bodies of refused requests: so many at once, each so long, and for so long (`Discard`). Beyond these limits, the
# response is sent before the body has arrived.
MAX_DISCARDING, DISCARD_BYTES = 64, 8 * 2**30
DISCARD_PIECE = 256 * 1024  # bytes
SWEEP_SECONDS = 1.0
MAX_BUFFERED = 64 * 2**20  # bytes, for all requests that arrive, and again for all responses that are sent
MAX_FILES = 65_536

# After a response, so many threads (one in NEXT_SHARE) wait so long for their connection's next request, if no other
# request waits for a thread: the way through the loop takes a fifth of the time of a call.
NEXT_SECONDS, NEXT_SHARE = 0.005, 4

HEALTH_THREADS = SIGN_IN_THREADS = 2
LIVENESS = frozenset({b"/health/live"})  # accesses nothing, so it never waits for a thread that checks MLflow
HEALTH = frozenset(
    {
        b"/health",
        b"/health/ready",
        b"/health/mlflow",
        b"/api/health/mlflow",
        b"/api/mlflow/health/mlflow",
        b"/mlflow/health/mlflow",
        b"/metrics",
    }
)
SIGN_IN = frozenset(
    {b"/account/login/", b"/account/logout/", b"/account/2fa/authenticate/", b"/admin/login/"}
)


class EventLoopWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker, whose threads serve requests and wait only for large bodies.

    A connection waits, is served, waits again, and ends. Everything but serving happens in the loop's thread.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.waiting: dict[Connection, float] = {}  # deadline of the next request, or of the rest of one
        self.sending: dict[Connection, float] = {}  # deadline of the next MIN_BYTES
        self.delayed: dict[Connection, float] = {}  # when the response may be sent
        self.lingering: dict[Connection, float] = {}
        self.discarding: dict[Connection, Discard] = {}  # the rest of a refused request's body
        self.scrap = bytearray(DISCARD_PIECE)
        self.expecting = threading.BoundedSemaphore(max(1, int(self.cfg.threads) // NEXT_SHARE))
        self.buffered = 0  # bytes received of requests that are not complete
        self.last_sweep = 0.0

    def init_process(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        limit = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
        if soft != resource.RLIM_INFINITY and soft < limit:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        self.reserved = [
            (LIVENESS, ThreadPoolExecutor(1, "liveness")),
            (HEALTH, ThreadPoolExecutor(HEALTH_THREADS, "health")),
            (SIGN_IN, ThreadPoolExecutor(SIGN_IN_THREADS, "sign-in")),
        ]
        super().init_process()

    # Requests arrive

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
        piece = receive(sock)
        if piece is None:
            return
        if not piece:
            self.drop(conn)
            return
        if not conn.received:
            self.waiting[conn] = time.monotonic() + REQUEST_SECONDS
        conn.received += piece
        self.buffered += len(piece)
        self.proceed(conn)
        if self.buffered > MAX_BUFFERED:
            self.make_room()

    def proceed(self, conn: Connection) -> None:
        """Give the connection a thread if its request is complete."""
        if conn.is_ready():
            self.forget(conn)
            self.enqueue_req(conn)
        elif problem := conn.problem:
            self.reject(conn, *problem)

    def reject(self, conn: Connection, status: int, reason: str, message: str) -> None:
        """Send an error without a thread; a client that does not read it at once gets nothing."""
        self.forget(conn)
        with contextlib.suppress(OSError):
            conn.sock.send(error_response(status, reason, message))
        self.linger(conn)

    # A thread serves the request

    def enqueue_req(self, conn: Connection) -> None:
        threads = self.threads_for(conn)

        def finish(future: "Future[Any]") -> None:
            self.method_queue.defer(self.finish_request, conn, future)

        threads.submit(self.handle, conn).add_done_callback(finish)

    def threads_for(self, conn: Connection) -> ThreadPoolExecutor:
        path = conn.path
        return next((threads for paths, threads in self.reserved if path in paths), self.tpool)

    def stop_threads(self) -> None:
        """Start no more requests; does not wait for those that run."""
        for threads in [self.tpool, *(threads for _, threads in self.reserved)]:
            threads.shutdown(wait=False)

    def handle(self, conn: Connection) -> Any:
        is_general = self.threads_for(conn) is self.tpool
        keepalive = self.serve(conn)
        while keepalive and is_general and self.receives_next(conn):
            keepalive = self.serve(conn)
        return keepalive

    def serve(self, conn: Connection) -> Any:
        """Serve the request that has been received; whether the connection stays open."""
        conn.sock.begin_request()
        conn.init()
        if not isinstance(conn.parser.unreader, ClientUnreader):
            conn.parser.unreader = ClientUnreader(conn.sock)
        conn.parser.unreader.deadline = float("inf")
        conn.parser.unreader.unread(conn.take())
        return super().handle(conn)

    def receives_next(self, conn: Connection) -> bool:
        """Whether this thread may serve the next request of the connection, and the request arrives at once."""
        if not self.alive or conn.sock.is_busy or self.tpool._work_queue.qsize():
            return False
        if not self.expecting.acquire(blocking=False):
            return False
        try:
            conn.begin(conn.parser.unreader.take_buffered())
            if not conn.received and conn.poller.poll(NEXT_SECONDS * 1000):
                conn.received += receive_now(conn.sock)
        finally:
            self.expecting.release()
        if conn.is_ready() and self.threads_for(conn) is self.tpool:
            return True
        conn.parser.unreader.unread(conn.take())  # for the loop
        return False

    def handle_request(self, req: Any, conn: Connection) -> Any:
        is_awaited, req._expected_100_continue = req._expected_100_continue, False
        req.must_close = req.must_close or is_awaited  # a refused client may send the body or may not
        conn.body = RequestBody(req.body.reader, conn.parser.unreader, is_awaited=is_awaited)
        req.body = conn.body
        conn.sock.must_hold = partial(self.must_hold, conn)
        try:
            return super().handle_request(req, conn)
        finally:
            conn.sock.end_response()

    def handle_error(self, req: Any, client: socket.socket, address: Any, error: Exception) -> None:
        """Give invalid HTTP the same form of error as everything else."""
        if not isinstance(error, ParseException):
            super().handle_error(req, client, address, error)
            return
        status, reason = status_of(error)
        kind = type(error).__name__
        self.log.warning("Invalid request from ip=%s: %s", address[0] if address else "", kind)
        with contextlib.suppress(OSError):
            client.sendall(error_response(status, reason, f"The request is not valid HTTP ({kind})."))

    def must_hold(self, conn: Connection) -> bool:
        """Whether the response waits until the loop has discarded the rest of the body."""
        missing = conn.body.unread - conn.parser.unreader.buf.tell()
        return 0 < missing <= DISCARD_BYTES and len(self.discarding) < MAX_DISCARDING

    def _keepalive_after(self, conn: Connection, keepalive: Any) -> bool:
        """Skip an unread body if it has arrived already, or will be discarded; otherwise end the connection. After a
        body that was read, no time limit may end it: the client has been told that it stays open."""
        if conn.sock.is_held or conn.body.is_read:
            return bool(keepalive)
        try:
            return bool(keepalive and conn.parser.finish_body(deadline=time.monotonic() + 0.02))
        except OSError:  # gunicorn's errors for bad chunks are OSErrors too
            return False

    # The rest of the response is sent

    def finish_request(self, conn: Connection, future: Any) -> None:
        try:
            conn.keepalive = not future.cancelled() and future.result()
        except Exception:
            conn.keepalive = False
        if conn.sock.is_held:
            self.discard(conn)
        elif conn.sock.unsent:
            self.send_in_time(conn)
        else:
            self.end_response(conn)

    # The response of a user who has to rest is delayed

    def send_in_time(self, conn: Connection) -> None:
        due, conn.sock.delayed_until = conn.sock.delayed_until, 0.0
        if self.alive and due > time.monotonic():
            self.delayed[conn] = due
        else:
            self.send_rest(conn)

    # The body of a refused request is discarded

    def discard(self, conn: Connection) -> None:
        conn.body.discard_buffered()
        try:
            conn.sock.setblocking(False)
        except OSError:  # gunicorn has closed it after an error
            self.drop(conn)
            return
        self.discarding[conn] = Discard()
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_discardable, conn))

    def on_discardable(self, conn: Connection, sock: ClientSocket) -> None:
        try:
            count = sock.recv_into(self.scrap, min(DISCARD_PIECE, conn.body.unread))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            count = 0
        if not count:
            self.drop(conn)
            return
        conn.body.reader.length -= count
        self.discarding[conn].moved = time.monotonic()
        if not conn.body.unread:
            self.release(conn)

    def release(self, conn: Connection) -> None:
        """Send the response that was held."""
        self.forget(conn)
        conn.keepalive = conn.keepalive and not conn.body.unread
        conn.sock.is_held = False
        self.send_in_time(conn)

    def send_rest(self, conn: Connection) -> None:
        conn.sock.setblocking(False)
        conn.last_unsent = len(conn.sock.unsent)
        self.sending[conn] = time.monotonic() + sockets.IDLE_SECONDS
        self.poller.register(conn.sock, selectors.EVENT_WRITE, partial(self.on_writable, conn))
        while sum(len(conn.sock.unsent) for conn in (*self.sending, *self.delayed)) > MAX_BUFFERED:
            self.drop(next(iter(self.sending)))

    def on_writable(self, conn: Connection, sock: ClientSocket) -> None:
        try:
            sock.send_without_waiting()
        except OSError:
            self.drop(conn)
            return
        if not sock.unsent:
            self.forget(conn)
            self.end_response(conn)

    def end_response(self, conn: Connection) -> None:
        """The response is sent: wait for the next request, or end the connection. Once a response has not announced
        the connection's end, the client may use it again, also while the worker ends."""
        if not conn.keepalive:
            self.linger(conn)
            return
        conn.begin(conn.parser.unreader.take_buffered())
        self.buffered += len(conn.received)
        self.wait(conn, REQUEST_SECONDS if conn.received else KEEPALIVE_SECONDS)
        if conn.received:  # nothing more may arrive on the socket, so the poller would not report it
            self.proceed(conn)

    # The connection ends

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
        piece = receive(sock)
        if piece is None:
            return
        conn.discarded += len(piece)
        if not piece or conn.discarded > LINGER_BYTES:
            self.drop(conn)

    def forget(self, conn: Connection) -> None:
        """Stop watching the connection."""
        if self.waiting.pop(conn, None) is not None:
            self.buffered -= len(conn.received)
        self.sending.pop(conn, None)
        self.delayed.pop(conn, None)
        self.lingering.pop(conn, None)
        self.discarding.pop(conn, None)
        with contextlib.suppress(OSError, KeyError, ValueError):
            self.poller.unregister(conn.sock)

    def drop(self, conn: Connection) -> None:
        self.forget(conn)
        self.nr_conns -= 1
        conn.close()

    # Deadlines and limits

    def murder_keepalived(self) -> None:
        """End connections past their deadline. gunicorn's name; the loop calls it once a turn."""
        now = time.monotonic()
        if now - self.last_sweep < SWEEP_SECONDS:
            return
        self.last_sweep = now
        for conn in [conn for conn, deadline in self.lingering.items() if deadline < now]:
            self.drop(conn)
        for conn in [conn for conn, discard in self.discarding.items() if discard.is_over(now)]:
            self.release(conn)
        for conn in [conn for conn, deadline in self.sending.items() if deadline < now]:
            if conn.last_unsent - len(conn.sock.unsent) < sockets.MIN_BYTES:
                self.drop(conn)
            else:
                conn.last_unsent, self.sending[conn] = len(conn.sock.unsent), now + sockets.IDLE_SECONDS
        for conn in [conn for conn, deadline in self.waiting.items() if deadline < now]:
            if conn.received:
                self.reject(conn, 408, "Request Timeout", "The request did not arrive completely in time.")
            else:
                self.drop(conn)

    def murder_pending(self) -> None:
        """Do nothing: `murder_keepalived` does it all."""

    def make_room(self, count: int = 16) -> None:
        """Drop the oldest connections: those that end, idle ones, slow requests, refused ones, delayed responses,
        slow readers, in this order."""
        idle = [conn for conn in self.waiting if not conn.received]
        slow = [conn for conn in self.waiting if conn.received]
        for conn in [*self.lingering, *idle, *slow, *self.discarding, *self.delayed, *self.sending][:count]:
            self.drop(conn)

    def set_accept_enabled(self, enabled: bool) -> None:
        if self.alive and self.nr_conns >= self.worker_connections:
            self.make_room()
            enabled = self.nr_conns < self.worker_connections
        super().set_accept_enabled(enabled)
