"""Sockets that wait, but not for ever, and bodies read from them: what a thread has in its hands.

A thread waits for its caller only where the call holds a slot in flight (`proxy.upstream.in_flight`); their number
is bounded. Answers of the portal's own (pages, files, the API, refusals) are kept for the loop to send.
"""

import errno
import socket
import threading
import time
from typing import Any

from django.conf import settings
from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.unreader import SocketUnreader

IDLE_SECONDS = 60.0  # without a byte of a transfer, either way
LEAST_BYTES = (
    60 * 1024
)  # that a sender has to send, a reader to take, in IDLE_SECONDS of waiting for it: 1 KiB/s
PIECE = 64 * 1024  # bytes read or sent at once
MOST_UNSENT = 4 * 2**20  # bytes of an answer of our own that are kept for its reader
TURN_SECONDS = 10.0  # that a longer one waits for another such

# Longer answers of our own (downloads of logs) whose thread waits for the reader: half of the threads that no
# forwarded call gets.
long_answers = threading.BoundedSemaphore(max(1, (settings.THREADS - settings.MAX_IN_FLIGHT) // 2))


class PatientSocket(socket.socket):
    """A socket that waits for its sender, and for the reader of a forwarded answer, but not for ever."""

    def __init__(self, fileno: int) -> None:
        super().__init__(fileno=fileno)
        self.unsent = bytearray()
        self.waits_for_reader = self.has_turn = False

    def setblocking(self, flag: bool) -> None:
        self.settimeout(IDLE_SECONDS if flag else 0.0)

    def wait_for_reader(self) -> None:
        """The answer that comes is forwarded, and its call holds a place."""
        self.waits_for_reader = True

    def sendall(self, data: Any, flags: int = 0) -> None:
        if self.waits_for_reader and not self.unsent:
            self.send_piece(data)
            return
        self.unsent += data
        if not self.waits_for_reader:
            self.send_what_goes()
            if len(self.unsent) <= MOST_UNSENT:
                return
            self.take_turn()
        while self.unsent:
            self.send_piece(self.unsent[:PIECE])
            del self.unsent[:PIECE]

    def send_piece(self, piece: Any) -> None:
        try:
            super().sendall(piece)
        except TimeoutError:  # IDLE_SECONDS for all of it: some 1 KiB/s for the pieces that we send
            raise ConnectionResetError(errno.ECONNRESET, "the reader is too slow") from None

    def take_turn(self) -> None:
        self.has_turn = self.has_turn or long_answers.acquire(timeout=TURN_SECONDS)
        if not self.has_turn:
            raise ConnectionResetError(errno.ECONNRESET, "too many long answers to slow readers")

    def send_what_goes(self) -> None:
        """As much of what is kept as the reader takes without being waited for."""
        patience = self.gettimeout()
        self.settimeout(0.0)
        try:
            while self.unsent:
                del self.unsent[: self.send(self.unsent[:PIECE])]
        except (BlockingIOError, InterruptedError):
            pass
        finally:
            self.settimeout(patience)

    def end_answer(self) -> None:
        if self.has_turn:
            long_answers.release()
        self.waits_for_reader = self.has_turn = False


class PatientUnreader(SocketUnreader):  # type: ignore[misc]
    """What a thread reads from. Time counts only while it waits for the sender."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, PIECE)
        self.waited, self.count = 0.0, 0
        self.until = float("inf")  # for the body that is being read, on the monotonic clock

    def chunk(self) -> bytes:
        started = time.monotonic()
        patience = self.sock.gettimeout()
        if self.until < float("inf"):
            self.sock.settimeout(min(patience or 0.0, max(self.until - started, 0.001)))
        try:
            piece: bytes = self.sock.recv(self.mxchunk)
        except TimeoutError:
            raise too_slow() from None
        finally:
            self.sock.settimeout(patience)
        if time.monotonic() >= self.until:
            raise too_slow()
        self.waited += time.monotonic() - started
        self.count += len(piece)
        if self.waited > IDLE_SECONDS:
            if self.count < LEAST_BYTES:
                raise too_slow()
            self.waited, self.count = 0.0, 0
        return piece

    def some(self, most: int) -> bytes:
        """Up to `most` bytes, from what was read already or as they come."""
        held = self.buf.tell()
        piece: bytes = self.take_buffered() if held else self.chunk()
        if len(piece) > most:
            self.unread(piece[most:])
            piece = piece[:most]
        return piece


def too_slow() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, "the sender is too slow")


class WholePieces(Body):  # type: ignore[misc]
    """gunicorn's own reads 1,024 bytes at a time and copies the rest each time: most of an upload's cost, paid
    with the interpreter's lock held."""

    def __init__(self, reader: Any, unreader: PatientUnreader | None = None) -> None:
        super().__init__(reader)
        self.unreader = unreader

    def end_at(self, until: float) -> None:
        """Whatever has not come by then (monotonic clock) does not come."""
        if self.unreader:
            self.unreader.until = until

    def read(self, size: int | None = None) -> bytes:
        reader = self.reader
        if self.buf.tell():
            return bytes(super().read(size))
        if isinstance(reader, ChunkedReader):
            return bytes(reader.read(self.getsize(size)))
        if not isinstance(reader, LengthReader):
            return bytes(super().read(size))
        pieces, wanted = [], min(self.getsize(size), reader.length)
        while wanted and (piece := reader.unreader.some(wanted)):
            pieces.append(piece)
            wanted -= len(piece)
            reader.length -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
