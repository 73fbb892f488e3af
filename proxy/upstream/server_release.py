"""The release of the MLflow server behind the portal, as the server states it in `/version`.

A server may be upgraded while the portal runs. So each process asks when it starts, and again after new connections to
the server, in a background thread and at most every EVERY_SECONDS.
"""

import logging
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from django.conf import settings

from keys.refusals import Refusal
from proxy.routes import releases
from proxy.routes.releases import Release
from proxy.upstream import client, server_routes
from proxy.upstream.workspaces import ServerRoute

logger = logging.getLogger(__name__)

EVERY_SECONDS = 30.0
TIMEOUT = 10.0  # seconds
MOST_BYTES = 64  # of a version


@dataclass
class Server:
    """What is known of the server at `url`. `name` is the environment for the log."""

    url: str
    name: str
    release: Release | None = None
    asked: float = float("-inf")  # monotonic
    is_asking: bool = False
    asker: int = 0  # the thread that asks, whose own connections do not count
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note_connection(self) -> None:
        """Ask for the release, at once or when EVERY_SECONDS have passed since the last time."""
        if threading.get_ident() == self.asker:
            return
        with self.lock:
            if self.is_asking:
                return
            self.is_asking = True
        wait = self.asked + EVERY_SECONDS - time.monotonic()
        thread = threading.Timer(max(0.0, wait), self.ask)
        thread.daemon, thread.name = True, "release"
        thread.start()

    def ask(self) -> None:
        """Ask for the release. Without an answer, the last one stays, and the next connection asks again."""
        self.asker = threading.get_ident()
        try:
            self.learn(fetch_version(self.url))
        except Refusal:  # logged by the client
            return
        finally:
            self.asked = time.monotonic()
            self.asker, self.is_asking = 0, False

    def learn(self, text: str) -> None:
        release = releases.parse(text)
        if release is None or release == self.release:
            return
        self.release = release
        logger.info("mlflow_release upstream=%s release=%s", self.name, release.text)
        if problem := releases.describe_release(release):
            logger.warning("mlflow_release_untested upstream=%s: %s", self.name, problem)


servers: dict[str, Server] = {}


def fetch_version(url: str) -> str:
    """The body of `/version`, "" for any other response. Raises Refusal if there is none."""
    response = server_routes.ask_server(url, ServerRoute.VERSION, timeout=TIMEOUT)
    return response.data[:MOST_BYTES].decode(errors="replace") if response.status == 200 else ""


def start() -> None:
    """Ask each server once, and again after new connections to it."""
    for name, url in (("live", settings.MLFLOW_URL), ("test", settings.MLFLOW_TEST_URL)):
        if url and url not in servers:
            servers[url] = Server(url=url, name=name)
    client.connection_listeners.append(note_connection)
    for server in servers.values():
        server.note_connection()


def note_connection(host: str, port: int) -> None:
    for server in servers.values():
        parts = urlsplit(server.url)
        if (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)) == (host, port):
            server.note_connection()


def release_of(url: str) -> Release | None:
    """The last known release of the server at `url`; None until it has answered."""
    server = servers.get(url)
    return server.release if server else None
