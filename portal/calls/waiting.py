"""The server's worker, with calls that wait for a slot: the event loop holds them, and no thread does.

A thread that finds no slot for a call raises WaitsForSlot before it has read the body. The loop then keeps the bytes of
the request until the slot comes, or LONGEST_WAIT has passed, and gives the request to a thread once more. A caller that
disconnects leaves the queue.
"""

import selectors
import time
from functools import partial
from itertools import takewhile
from typing import Any

from portal.http.connections import Connection, receive
from portal.http.worker import Worker
from proxy.slot_queue import LONGEST_WAIT, WaitsForSlot


class CallWorker(Worker):
    """The worker that gunicorn runs (`portal.server`)."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.parked: dict[Connection, float] = {}  # until when the request waits, the first to end first

    def serve(self, conn: Connection) -> Any:
        sock, message = conn.sock, bytes(conn.received)
        sock.can_wait, sock.may_wait = self.alive and not sock.has_waited, False
        sock.on_slot = partial(self.note_slot, conn)
        try:
            return super().serve(conn)
        except WaitsForSlot:
            conn.parser, conn.initialized = None, False  # the parser has read the head
            conn.begin(message)
            conn.is_ready()
            return True
        finally:
            if sock.waiting is None:
                sock.has_waited, sock.waited_for_slot = False, 0.0
                if slot := sock.claim_slot():  # the call was refused before it needed one
                    slot.release()

    def finish_request(self, conn: Connection, future: Any) -> None:
        if conn.sock.waiting is None:
            super().finish_request(conn, future)
            return
        self.serving.pop(conn, None)
        if conn.sock.granted:
            self.resume(conn)
        else:
            self.park(conn)

    def park(self, conn: Connection) -> None:
        self.parked[conn] = time.monotonic() + LONGEST_WAIT
        conn.sock.setblocking(False)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_parked, conn))

    def on_parked(self, conn: Connection, sock: Any) -> None:
        """The client has sent more of its body, or has left. Only as much is read as it takes to see which."""
        piece = receive(sock)
        if piece:
            conn.received += piece
            self.poller.unregister(sock)
        elif piece is not None and sock.waiting.leave():
            self.drop(conn)

    def note_slot(self, conn: Connection, slot: Any) -> None:
        """The waiting call has got a slot. Called by the thread that released it."""
        conn.sock.granted = slot
        self.method_queue.defer(self.resume_parked, conn)

    def resume_parked(self, conn: Connection) -> None:
        # Otherwise its thread has not finished, and `finish_request` follows, or it has, and this is a later request.
        if conn in self.parked and conn.sock.granted:
            self.resume(conn)

    def resume(self, conn: Connection) -> None:
        """Give the request to a thread again, with its slot or without."""
        self.forget(conn)
        sock = conn.sock
        sock.waited_for_slot = time.monotonic() - sock.waiting.since
        sock.waiting, sock.has_waited = None, True
        self.enqueue_req(conn)

    def forget(self, conn: Connection) -> None:
        self.parked.pop(conn, None)
        super().forget(conn)

    def resume_all(self, now: float = float("inf")) -> None:
        """End the waits whose time has come."""
        for conn, _ in list(takewhile(lambda parked: parked[1] <= now, self.parked.items())):
            if conn.sock.waiting.leave():  # otherwise it has just got a slot
                self.resume(conn)

    def murder_keepalived(self) -> None:
        self.resume_all(time.monotonic())
        super().murder_keepalived()

    def drain(self) -> None:
        self.alive = False
        self.resume_all()
        super().drain()
