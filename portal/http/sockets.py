"""Client sockets with timeouts, and the request bodies that are read from them.

A thread waits for its client only if the call holds a slot in flight (`proxy.upstream.in_flight`), and the number of
slots is bounded. Responses of the portal's own (pages, files, the API, refusals) are buffered, and the event loop sends
them. A response to a body that has not arrived is held until the event loop has discarded the body: many clients and
proxies read a response only after they have sent everything.
"""

import contextlib
import errno
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.errors import InvalidChunkSize
from gunicorn.http.unreader import SocketUnreader

from keys.page_slots import MAX_EXPORTS
from proxy.upstream.time_share import PROCESSOR

IDLE_SECONDS = 60.0  # without a byte of a transfer, in either direction
MIN_BYTES = 60 * 1024  # that a client must send or read in IDLE_SECONDS of waiting for it: 1 KiB/s
PIECE = 64 * 1024  # bytes read or sent at once
MAX_UNSENT = 4 * 2**20  # bytes of a response of the portal's own that are buffered for its client
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
MAX_CHUNK_LINE = 64 * 1024  # bytes of a chunk's size line, or of the trailer section
TURN_SECONDS = 10.0  # that a longer response waits until it may use a thread
# A longer response ends if its client does not take this much in this much waiting for it: 32 KiB/s. Otherwise two
# users who read slowly would hold all slots of exports for hours.
LONG_SECONDS, LONG_BYTES = 10.0, 320 * 1024

# Longer responses of the portal's own, whose thread waits for the client: exports, which have as many slots.
long_responses = threading.BoundedSemaphore(MAX_EXPORTS)


class ClientSocket(socket.socket):
    """A socket whose operations time out, and that buffers the portal's own responses."""

    def __init__(self, fileno: int) -> None:
        super().__init__(fileno=fileno)
        self.unsent = bytearray()
        self.waits_for_reader = self.has_turn = False
        self.waited, self.count = 0.0, 0  # for the reader of a longer response; bytes that it took meanwhile
        self.must_hold: Callable[[], bool] | None = None  # asked when the response to a request begins
        self.is_held = False  # the response: it waits for the rest of the request
        self.started = 0.0  # the thread's processor time when it began with the request
        self.charged: tuple[str, float] | None = None  # user and weight, see `charge_to`
        self.delayed_until = 0.0  # on the monotonic clock: when the response may be sent
        self.is_unbounded = False
        # A call that finds no slot may wait for one (`portal.calls.waiting`), if the server can hold it and the
        # dispatcher allows it. `waiting` is its place in the queue, `granted` the slot that it got there.
        self.can_wait = self.may_wait = self.has_waited = False
        self.on_slot: Callable[[Any], None] | None = None
        self.waiting: Any = None
        self.granted: Any = None
        self.waited_for_slot = 0.0  # seconds

    def claim_slot(self) -> Any:
        """The slot for which the request has waited, once."""
        slot, self.granted = self.granted, None
        return slot

    def setblocking(self, flag: bool) -> None:
        self.settimeout(IDLE_SECONDS if flag else 0.0)

    def wait_for_reader(self) -> None:
        """Do not buffer the response: it is forwarded, and its call holds a slot in flight."""
        self.waits_for_reader = True

    def charge_to(self, user: str, weight: float = 1.0) -> None:
        """Charge this user for the request's processor time, times `weight`. The response is the portal's own; if the
        user has to rest, the event loop sends it later, and no thread waits meanwhile."""
        self.waits_for_reader = False
        self.charged = user, weight

    @property
    def is_busy(self) -> bool:
        """Whether the event loop still has to send something of the response."""
        return bool(self.is_held or self.unsent or self.delayed_until or self.waiting)

    def sendall(self, data: Any, flags: int = 0) -> None:
        if self.must_hold:
            self.is_held, self.must_hold = self.must_hold(), None
        if self.is_held:
            self.unsent += data
            if len(self.unsent) <= MAX_UNSENT:
                return
            self.is_held, data = False, b""
        if self.waits_for_reader and not self.unsent:
            self.send_piece(data)
            return
        self.unsent += data
        if self.charged and len(self.unsent) <= MAX_UNSENT:
            return
        if not self.waits_for_reader:
            self.send_without_waiting()
            if len(self.unsent) <= MAX_UNSENT:
                return
            self.take_turn()
        while self.unsent:
            piece = self.unsent[:PIECE]
            if self.has_turn:
                self.send_in_turn(piece)
            else:
                self.send_piece(piece)
            del self.unsent[:PIECE]

    def begin_unbounded(self) -> None:
        """The end of the connection will be the end of the response (HTTP/1.0). Until `end_unbounded`, any end resets
        the connection, so that a response that was cut off does not look complete."""
        self.is_unbounded = True
        self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def end_unbounded(self) -> None:
        self.is_unbounded = False
        self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))

    def shutdown(self, how: int) -> None:
        if self.is_unbounded:
            raise ConnectionResetError(errno.ECONNRESET, "the response was cut off")
        super().shutdown(how)

    def is_left(self) -> bool:
        """Whether the client has closed the connection. Only for the thread that serves it."""
        timeout = self.gettimeout()
        self.settimeout(0.0)
        try:
            return self.recv(1, socket.MSG_PEEK) == b""
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True
        finally:
            self.settimeout(timeout)

    def send_interim(self) -> None:
        """Send an interim response, so that a client does not time out (RFC 9110 section 15.2.1)."""
        self.send_piece(INTERIM)

    def send_piece(self, piece: Any) -> None:
        try:
            super().sendall(piece)
        except TimeoutError:  # IDLE_SECONDS for the whole piece: about 1 KiB/s for the pieces that we send
            raise ConnectionResetError(errno.ECONNRESET, "the client reads too slowly") from None

    def send_in_turn(self, piece: Any) -> None:
        timeout, started = self.gettimeout(), time.monotonic()
        self.settimeout(LONG_SECONDS)
        try:
            self.send_piece(piece)
        finally:
            self.settimeout(timeout)
        self.waited += time.monotonic() - started
        self.count += len(piece)
        if self.waited > LONG_SECONDS:
            if self.count < LONG_BYTES:
                raise ConnectionResetError(errno.ECONNRESET, "the client reads too slowly")
            self.waited, self.count = 0.0, 0

    def take_turn(self) -> None:
        self.has_turn = self.has_turn or long_responses.acquire(timeout=TURN_SECONDS)
        if not self.has_turn:
            raise ConnectionResetError(errno.ECONNRESET, "too many long responses to slow clients")

    def send_without_waiting(self) -> None:
        """Send as much of the buffer as the client takes at once."""
        timeout = self.gettimeout()
        self.settimeout(0.0)
        try:
            while self.unsent:
                del self.unsent[: self.send(self.unsent[:PIECE])]
        except (BlockingIOError, InterruptedError):
            pass
        finally:
            self.settimeout(timeout)

    def begin_request(self) -> None:
        self.started = time.thread_time()

    def end_response(self) -> None:
        if self.charged:
            self.charge_user(*self.charged)
            self.charged = None
        if self.has_turn:
            long_responses.release()
        self.waits_for_reader = self.has_turn = False
        self.waited, self.count = 0.0, 0
        self.must_hold = None

    def charge_user(self, user: str, weight: float) -> None:
        PROCESSOR.charge(user, (time.thread_time() - self.started) * weight)
        if rest := PROCESSOR.seconds_to_rest(user):
            self.delayed_until = time.monotonic() + rest
        elif not self.is_held:
            # The event loop meets the same error and closes the connection.
            with contextlib.suppress(OSError):
                self.send_without_waiting()


class ClientUnreader(SocketUnreader):  # type: ignore[misc]
    """gunicorn's reader of a socket, with timeouts. Only the time spent waiting for the client counts."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, PIECE)
        self.waited, self.count = 0.0, 0
        self.deadline = float("inf")  # of the body that is being read, on the monotonic clock

    def chunk(self, size_hint: int | None = None) -> bytes:
        """The next bytes from the client; gunicorn 27 passes `size_hint`."""
        started = time.monotonic()
        timeout = self.sock.gettimeout()
        if self.deadline < float("inf"):
            self.sock.settimeout(min(timeout or 0.0, max(self.deadline - started, 0.001)))
        try:
            piece: bytes = self.sock.recv(self.mxchunk)
        except TimeoutError:
            raise sends_too_slowly() from None
        finally:
            self.sock.settimeout(timeout)
        if time.monotonic() >= self.deadline:
            raise sends_too_slowly()
        self.waited += time.monotonic() - started
        self.count += len(piece)
        if self.waited > IDLE_SECONDS:
            if self.count < MIN_BYTES:
                raise sends_too_slowly()
            self.waited, self.count = 0.0, 0
        return piece

    def read_some(self, limit: int) -> bytes:
        """Up to `limit` bytes: buffered ones, or else the next that arrive."""
        buffered = self.buf.tell()
        piece: bytes = self.take_buffered() if buffered else self.chunk()
        if len(piece) > limit:
            self.unread(piece[limit:])
            piece = piece[:limit]
        return piece


def sends_too_slowly() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, "the client sends too slowly")


class BoundedChunkedReader(ChunkedReader):  # type: ignore[misc]
    """gunicorn's reader of chunked bodies, with a limit for the lines between chunks, which gunicorn has from 27 on."""

    def get_data(self, unreader: ClientUnreader, buf: Any) -> None:
        if buf.tell() > MAX_CHUNK_LINE:
            raise InvalidChunkSize(b"too long")
        super().get_data(unreader, buf)


class RequestBody(Body):  # type: ignore[misc]
    """A request's body, read in large pieces.

    gunicorn 26 reads 1,024 bytes at a time and copies the rest each time. This is most of the cost of an upload, and
    it is paid with the interpreter's lock held.
    """

    def __init__(
        self, reader: Any, unreader: ClientUnreader | None = None, *, is_awaited: bool = False
    ) -> None:
        """`reader` is gunicorn's, of which nothing has been read yet. `is_awaited`: the client waits for `100 Continue`
        before it sends the body."""
        if isinstance(reader, ChunkedReader) and unreader:
            reader = BoundedChunkedReader(reader.req, unreader)
        super().__init__(reader)
        self.unreader = unreader
        self.is_awaited = is_awaited

    @property
    def unread(self) -> int:
        """The bytes of the body that are still to be read; 0 if they are not known, or will not come."""
        is_broken = "read" in vars(self)  # `proxy.request.bodies` has replaced it
        is_known = isinstance(self.reader, LengthReader) and not is_broken and not self.is_awaited
        return int(self.reader.length) if is_known else 0

    @property
    def is_read(self) -> bool:
        """Whether the body has been read completely, or there is none."""
        return isinstance(self.reader, LengthReader) and not self.reader.length and "read" not in vars(self)

    def discard_buffered(self) -> None:
        """Discard the part of the body that has been received with the head."""
        if self.unreader and self.unread and self.unreader.buf.tell():
            self.reader.length -= len(self.unreader.read_some(self.unread))

    def set_deadline(self, deadline: float) -> None:
        """Fail reads after `deadline` (monotonic clock)."""
        if self.unreader:
            self.unreader.deadline = deadline

    def read(self, size: int | None = None) -> bytes:
        reader = self.reader
        if self.is_awaited and self.unreader:
            self.is_awaited = False
            self.unreader.sock.send(INTERIM)
        if self.buf.tell():
            return bytes(super().read(size))
        if isinstance(reader, ChunkedReader):
            return bytes(reader.read(self.getsize(size)))
        if not isinstance(reader, LengthReader):
            return bytes(super().read(size))
        pieces, missing = [], min(self.getsize(size), reader.length)
        while missing and (piece := reader.unreader.read_some(missing)):
            pieces.append(piece)
            missing -= len(piece)
            reader.length -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
