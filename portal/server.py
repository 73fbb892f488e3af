"""gunicorn's configuration: `gunicorn --config python:portal.server portal.wsgi:application`.

gunicorn, because it handles broken bodies correctly: it raises an error if a chunked upload ends early, and it does not
end a chunked response that breaks off as if it were complete. HOST, PORT, WORKERS and THREADS come from the environment
through `portal.settings`.
"""

import gc
import os
from typing import Any

gc.disable()  # until the start is complete: what it creates stays, and looking for garbage takes a fifth of its time
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

from django.conf import settings  # noqa: E402

# Where the processes keep their metrics. prometheus_client reads this when it is first imported.
METRICS = settings.DATA_DIR / "metrics" / str(settings.PORT)
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(METRICS)

from portal.http import metric_files  # noqa: E402

metric_files.use_allocated_files()

from keys import page_slots  # noqa: E402
from portal import checks  # noqa: E402
from portal.calls import responses  # noqa: E402
from portal.http.event_loop import KEEPALIVE_SECONDS  # noqa: E402
from portal.http.server_log import ServerLogger  # noqa: E402
from portal.http.worker import CUT_SECONDS, WRITE_SECONDS, Worker  # noqa: E402
from proxy import draining  # noqa: E402
from proxy.upstream import MOST_WAITING_THREADS  # noqa: E402

responses.use()


def on_starting(arbiter: Any) -> None:
    """Check that the settings fit together: an error stops the start, a warning is logged."""
    for message in checks.check_settings():
        if message.is_serious():
            raise SystemExit(message.msg)
        arbiter.log.warning("setting_questionable", extra={"id": message.id, "advice": message.msg})


def when_ready(arbiter: Any) -> None:
    """Announce a stop of the portal to all workers; a worker that is only replaced announces nothing."""
    gc.freeze()
    gc.enable()
    metric_files.begin(METRICS)

    def stop() -> None:
        draining.begin()
        raise StopIteration

    arbiter.handle_term = stop


def child_exit(arbiter: Any, worker: Any) -> None:
    metric_files.collect(METRICS, worker.pid)


def pre_request(worker: Worker, request: Any) -> None:
    from portal.http import access_log

    access_log.request_started()


def post_request(worker: Worker, request: Any, environ: dict[str, Any], response: Any) -> None:
    from portal.http import access_log

    status = response.status_code if response and response.status else 500
    access_log.request_ended(
        environ,
        status=status,
        sent=response.sent if response else 0,
        trusted_proxies=settings.TRUSTED_PROXIES,
    )


bind = f"[{settings.HOST}]:{settings.PORT}" if ":" in settings.HOST else f"{settings.HOST}:{settings.PORT}"
worker_class = "portal.calls.waiting.CallWorker"
workers = settings.WORKERS
threads = settings.THREADS + page_slots.THREADS + MOST_WAITING_THREADS
keepalive = int(KEEPALIVE_SECONDS)
graceful_timeout = (
    settings.DRAIN_SECONDS + CUT_SECONDS + WRITE_SECONDS + 2
)  # seconds until gunicorn kills a worker
timeout = 60  # seconds without a worker's heartbeat; a long transfer does not stop the heartbeat
worker_connections = 2000
limit_request_line = 0  # the event loop limits it (`portal.http.connections.MAX_LINE`)
limit_request_fields = 100
control_socket_disable = True
http_parser = "python"  # not another one that happens to be installed
sendfile = False  # sendfile has its own way of waiting for the client
# WSGI cannot tell a header with an underscore from one with a hyphen.
header_map = "drop"
forwarder_headers = ""
forwarded_allow_ips = ""
logger_class = ServerLogger
accesslog = None
errorlog = "-"
loglevel = "info"
