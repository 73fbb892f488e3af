"""gunicorn's configuration: `gunicorn --config python:portal.server portal.wsgi:application`.

gunicorn because it is right about broken bodies: a chunked upload that ends early raises, a chunked answer
that breaks off is not ended as if it were whole. HOST, PORT, WORKERS and THREADS come from the environment
by way of `portal.settings`.
"""

import contextlib
import logging.config
import os
import selectors
import socket
import sys
import time
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

from django.conf import settings
from gunicorn.glogging import Logger

# Where the processes' numbers are: to be known before prometheus_client is imported.
METRICS = settings.DATA_DIR / "metrics" / str(settings.PORT)
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(METRICS)

from portal.http import metric_files  # noqa: E402

metric_files.keep_room()

from portal import checks  # noqa: E402
from portal.http.connections import KEPT_SECONDS, PatientWorker  # noqa: E402
from proxy import draining  # noqa: E402

CUT_SECONDS = 2  # that a call which was cut off gets to write itself down
WRITE_SECONDS = 10  # that the spool gets to empty; what is left in it is adopted
POLL_SECONDS = 0.1


class Worker(PatientWorker):
    """The worker with an end of its own.

    On SIGTERM the calls that are running get DRAIN_SECONDS; idle connections are closed. If the whole portal
    stops, not just this worker, it goes on accepting meanwhile, so that readiness can say so and callers are
    told to come again. Then whatever still runs is cut off and written down.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.serving: dict[Any, socket.socket] = {}

    def enqueue_req(self, conn: Any) -> None:
        self.serving[conn] = conn.sock
        super().enqueue_req(conn)

    def finish_request(self, conn: Any, future: Any) -> None:
        self.serving.pop(conn, None)
        super().finish_request(conn, future)

    def run(self) -> None:
        wake = self.method_queue
        self.poller.register(wake.fileno(), selectors.EVENT_READ, wake.run_callbacks)
        while self.alive and self.is_parent_alive():
            self.turn(accept=True, seconds=1.0)
        self.drain()
        self.leave()

    def turn(self, *, accept: bool, seconds: float) -> None:
        """What there is to do in the next `seconds`, at most."""
        self.notify()
        self.set_accept_enabled(accept and self.nr_conns < self.worker_connections)
        self.wait_for_and_dispatch_events(timeout=seconds)
        self.murder_keepalived()
        self.murder_pending()

    def drain(self) -> None:
        """Until what runs now has ended, or DRAIN_SECONDS are over."""
        self.alive = False
        now = time.monotonic()
        end, first_end = now + settings.DRAIN_SECONDS, now + CUT_SECONDS
        self.close_idle()
        running = {*self.serving, *self.sending}
        while (now := time.monotonic()) < end and (
            self.has_to_serve(running) or (self.has_newcomers() and now < first_end)
        ):
            self.turn(accept=draining.has_begun(), seconds=POLL_SECONDS)
        self.set_accept_enabled(False)
        # Whoever was let in last still hears that the portal stops.
        end = min(end, time.monotonic() + CUT_SECONDS)
        while self.nr_conns > 0 and time.monotonic() < end:
            self.turn(accept=False, seconds=POLL_SECONDS)

    def has_to_serve(self, running: set[Any]) -> bool:
        """Whether one of these runs yet; any other too, if only this worker ends: nobody tells it to come again."""
        busy = {*self.serving, *self.sending}
        return bool(busy & running if draining.has_begun() else busy)

    def leave(self) -> None:
        """Cut off what is left, see to it that all is written down, and be gone."""
        from proxy.usage import record, tracing, writer

        record.stop_running()
        for connection in list(self.serving.values()):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for conn in [*self.waiting, *self.sending, *self.lingering]:
            self.drop(conn)
        end = time.monotonic() + CUT_SECONDS
        while self.nr_conns > 0 and time.monotonic() < end:
            self.turn(accept=False, seconds=POLL_SECONDS)
        self.tpool.shutdown(wait=False)
        self.poller.close()
        self.method_queue.close()
        for listener in self.sockets:
            listener.close()
        if not self.serving:
            return
        # Threads that wait for MLflow would keep this process alive until it answers.
        record.record_stopped()
        writer.stop()
        tracing.flush()
        sys.stderr.flush()
        os._exit(0)


class OneLog(Logger):  # type: ignore[misc]
    """gunicorn's log as part of the portal's: same form, same place, nothing in it that looks like a key."""

    def setup(self, cfg: Any) -> None:
        self.cfg, self.loglevel = cfg, logging.INFO
        logging.config.dictConfig(settings.LOGGING)
        self.error_log.setLevel(logging.INFO)
        self.error_log.handlers, self.error_log.propagate = [], True

    def access(self, *arguments: Any) -> None:
        """`portal.http.access_log` says more."""


def on_starting(arbiter: Any) -> None:
    """Settings that do not fit together stop the start; those that hardly do are warned of."""
    for message in checks.check_settings():
        if message.is_serious():
            raise SystemExit(message.msg)
        arbiter.log.warning("setting_questionable", extra={"id": message.id, "advice": message.msg})


def when_ready(arbiter: Any) -> None:
    """All workers hear at once that the portal stops; one that is only replaced does not say so."""
    metric_files.begin(METRICS)

    def stop() -> None:
        draining.begin()
        raise StopIteration

    arbiter.handle_term = stop


def child_exit(arbiter: Any, worker: Any) -> None:
    metric_files.bury(METRICS, worker.pid)


def pre_request(worker: Worker, request: Any) -> None:
    from portal.http import access_log

    access_log.began()


def post_request(worker: Worker, request: Any, environ: dict[str, Any], response: Any) -> None:
    from portal.http import access_log

    status = response.status_code if response and response.status else 500
    access_log.ended(
        environ,
        status=status,
        sent=response.sent if response else 0,
        trusted_proxies=settings.TRUSTED_PROXIES,
    )


bind = f"[{settings.HOST}]:{settings.PORT}" if ":" in settings.HOST else f"{settings.HOST}:{settings.PORT}"
worker_class = "portal.server.Worker"
workers = settings.WORKERS
threads = settings.THREADS
keepalive = int(KEPT_SECONDS)
graceful_timeout = (
    settings.DRAIN_SECONDS + CUT_SECONDS + WRITE_SECONDS + 2
)  # seconds until a worker is killed
timeout = 60  # seconds without a worker's heartbeat; a long transfer does not stop it
worker_connections = 2000
limit_request_line = 8190  # bytes
limit_request_fields = 100
control_socket_disable = True
sendfile = False  # it would wait for the reader in ways of its own
# A header with an underscore is not the one with a hyphen; WSGI cannot tell them apart.
header_map = "drop"
forwarder_headers = ""
forwarded_allow_ips = ""
logger_class = OneLog
accesslog = None
errorlog = "-"
loglevel = "info"
