"""The server's worker: the event loop, and how it ends on SIGTERM without losing a call."""

import contextlib
import gc
import os
import selectors
import socket
import sys
import time
from typing import Any

from django.conf import settings

from portal.http.event_loop import KEEPALIVE_SECONDS, EventLoopWorker
from proxy import draining

CUT_SECONDS = 2  # that an interrupted call has to record itself
WRITE_SECONDS = 10  # that the spool has to empty; another process adopts the rest
POLL_SECONDS = 0.1
QUIET_SECONDS = 0.5  # after a response, for which a connection stays open for the client's next request
# After so long, a thread that computes lets another one run. Python's default is ten times that: a call waits for it
# each time that it has waited for MLflow, PostgreSQL or its client.
SWITCH_SECONDS = 0.0005


# New objects until a collection of the youngest generation, and collections until one of the next: a call leaves hardly
# any cycles, and each full collection visits all that is not frozen.
COLLECTIONS = (10_000, 20, 50)


def tune_garbage_collection() -> None:
    """Exclude what the start has created, which stays as long as the process, from every later collection. The start
    itself collects nothing (`portal.server`): it leaves hardly any garbage, and looking for it takes a tenth of a
    second."""
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)
    gc.enable()


def keep_settings(config: Any) -> None:
    """Keep gunicorn's settings as attributes: it looks up twenty of them by name for each request."""
    vars(config).update({name: setting.get() for name, setting in config.settings.items()})


class Worker(EventLoopWorker):
    """The event loop, with a graceful end.

    On SIGTERM, running calls have DRAIN_SECONDS to finish, and connections are closed once they are idle. If the whole
    portal stops and not just this worker, the worker meanwhile accepts connections, so that readiness reports the stop
    and new calls are answered with a request to try again. Then it interrupts and records the calls that still run.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.serving: dict[Any, socket.socket] = {}

    def init_process(self) -> None:
        gc.disable()
        sys.setswitchinterval(SWITCH_SECONDS)
        keep_settings(self.cfg)
        super().init_process()

    def enqueue_req(self, conn: Any) -> None:
        self.serving[conn] = conn.sock
        super().enqueue_req(conn)

    def finish_request(self, conn: Any, future: Any) -> None:
        self.serving.pop(conn, None)
        super().finish_request(conn, future)

    def run(self) -> None:
        tune_garbage_collection()
        wake = self.method_queue
        self.poller.register(wake.fileno(), selectors.EVENT_READ, wake.run_callbacks)
        while self.alive and self.is_parent_alive():
            self.turn(accept=True, seconds=1.0)
        self.drain()
        self.leave()

    def turn(self, *, accept: bool, seconds: float) -> None:
        """Handle the events of the next `seconds` at most."""
        self.notify()
        self.set_accept_enabled(accept and self.nr_conns < self.worker_connections)
        self.wait_for_and_dispatch_events(timeout=self.seconds_until_delayed(seconds))
        self.send_delayed()
        self.murder_keepalived()
        self.murder_pending()

    def send_delayed(self) -> None:
        """Send the responses whose time has come; all of them if the worker ends."""
        now = time.monotonic()
        for conn in [conn for conn, due in self.delayed.items() if due <= now or not self.alive]:
            del self.delayed[conn]
            self.send_rest(conn)

    def seconds_until_delayed(self, seconds: float) -> float:
        """How long the loop may wait for events: at most `seconds`, and until the next delayed response."""
        return max(0.0, min([seconds, *(due - time.monotonic() for due in self.delayed.values())]))

    def drain(self) -> None:
        """Return when the calls that run now have ended, or after DRAIN_SECONDS."""
        self.alive = False
        now = time.monotonic()
        end, newcomers_end = now + settings.DRAIN_SECONDS, now + CUT_SECONDS
        running = {*self.serving, *self.discarding, *self.delayed, *self.sending}
        self.close_idle()
        while (now := time.monotonic()) < end and (
            self.has_to_wait_for(running) or (self.waiting and now < newcomers_end)
        ):
            self.turn(accept=draining.has_begun(), seconds=POLL_SECONDS)
            self.close_idle()
        self.set_accept_enabled(False)
        if draining.has_begun():
            self.close_listeners()
        # The last clients that connected still learn that the portal stops.
        end = min(end, time.monotonic() + CUT_SECONDS)
        while self.nr_conns > 0 and time.monotonic() < end:
            self.turn(accept=False, seconds=POLL_SECONDS)
            self.close_idle()

    def close_idle(self) -> None:
        """Before the end, close connections whose clients have sent nothing for QUIET_SECONDS since the last response.

        A client that goes on calling sends its next request before that. If its connection were closed at the same
        moment, it could not know whether the portal got the request, and MLflow's client from 3.18 would not repeat a
        creation. Those that wait for their first request stay too: their clients have just connected and are about to
        send it.
        """
        quiet = time.monotonic() + KEEPALIVE_SECONDS - QUIET_SECONDS
        for conn in [
            conn for conn, deadline in self.waiting.items() if conn.initialized and deadline < quiet
        ]:
            if conn.received:
                continue
            self.on_readable(conn, conn.sock)  # it may have arrived meanwhile
            if conn in self.waiting and not conn.received:
                self.drop(conn)

    def close_listeners(self) -> None:
        """Accept the clients that have connected, and refuse further ones. The system resets connections that nobody
        has accepted; their clients could not know whether the portal got a request."""
        for listener in self.sockets:
            count = -1
            while count != self.nr_conns:
                count = self.nr_conns
                self.accept(listener)
            listener.close()

    def has_to_wait_for(self, running: set[Any]) -> bool:
        """Whether any of `running` still runs; if only this worker ends, whether anything runs, because new calls are
        then served and not sent away."""
        busy = {*self.serving, *self.discarding, *self.delayed, *self.sending}
        return bool(busy & running if draining.has_begun() else busy)

    def leave(self) -> None:
        """Interrupt the calls that still run, see that they are recorded, and exit."""
        from proxy.usage import recording, tracing, writer  # needs Django set up

        recording.stop_running()
        for connection in list(self.serving.values()):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for conn in [*self.waiting, *self.discarding, *self.delayed, *self.sending, *self.lingering]:
            self.drop(conn)
        end = time.monotonic() + CUT_SECONDS
        while self.nr_conns > 0 and time.monotonic() < end:
            self.turn(accept=False, seconds=POLL_SECONDS)
        self.stop_threads()
        self.poller.close()
        self.method_queue.close()
        for listener in self.sockets:
            listener.close()
        if not self.serving:
            return
        # Threads that wait for MLflow would keep this process alive until MLflow responds.
        recording.record_stopped()
        writer.stop()
        tracing.flush()
        sys.stderr.flush()
        os._exit(0)
