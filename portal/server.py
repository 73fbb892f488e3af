"""gunicorn's configuration: `gunicorn --config python:portal.server portal.wsgi:application`.

gunicorn because it is right about broken bodies: a chunked upload that ends early raises, a chunked answer
that breaks off is not ended as if it were whole. HOST, PORT, WORKERS and THREADS come from the environment
by way of `portal.settings`.
"""

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

from django.conf import settings
from gunicorn.workers.gthread import ThreadWorker


class Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker, with two things mended that gunicorn 27 mends too.

    On SIGTERM it waits only for requests, not for idle connections. And a request that was read along with the
    end of the last one's body is served: the poller would wait for a socket that has nothing more to say.
    """

    def handle(self, conn: Any) -> Any:
        answer = super().handle(conn)
        while answer is True and self.alive and conn.parser.unreader.buf.getvalue():
            answer = super().handle(conn)
        return answer

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if self.alive or enabled:
            return
        for connection in (*self.keepalived_conns, *self.pending_conns):
            connection.timeout = 0.0
        self.murder_keepalived()
        self.murder_pending()


bind = f"[{settings.HOST}]:{settings.PORT}" if ":" in settings.HOST else f"{settings.HOST}:{settings.PORT}"
worker_class = "portal.server.Worker"
workers = settings.WORKERS
threads = settings.THREADS
keepalive = 75  # seconds; a load balancer's usual 60 and more, so that it never sends into a closing door
graceful_timeout = 30  # seconds that running requests get after SIGTERM
timeout = 60  # seconds without a worker's heartbeat; a long transfer does not stop it
worker_connections = 2000
limit_request_line = 8190  # bytes
limit_request_fields = 100
control_socket_disable = True
# A header with an underscore is not the one with a hyphen; WSGI cannot tell them apart.
header_map = "drop"
forwarder_headers = ""
forwarded_allow_ips = ""
accesslog = None
errorlog = "-"
loglevel = "info"
