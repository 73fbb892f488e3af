"""What the ledger tells when the portal is killed before or after MLflow carried out a write."""

import http.client
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

import pytest

from tests.end_to_end.ledger.conftest import rows
from tests.portals import Portal, portal

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]

API = "/api/mlflow/api/2.0/mlflow"


class Crash(ThreadingHTTPServer):
    """Stands before MLflow and kills the portal, with `kill -9`, when a creation comes by: before it is handed
    on, or when MLflow has answered it."""

    daemon_threads = True

    def __init__(self, upstream: str, *, after: bool) -> None:
        super().__init__(("127.0.0.1", 0), Relay)
        self.upstream, self.after = urlsplit(upstream), after
        self.victim = 0
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """The portal is dead; there is nobody to answer."""


class Relay(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Crash

    def relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        crashes = self.path.endswith("/create") and self.server.victim
        if crashes and not self.server.after:
            os.killpg(self.server.victim, signal.SIGKILL)
            return
        connection = http.client.HTTPConnection(self.server.upstream.netloc, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if crashes:
            assert answer.status == 200, content
            os.killpg(self.server.victim, signal.SIGKILL)
            return
        self.send_response_only(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = relay  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def crashing_portal(mlflow_portal: Portal, mlflow_url: str, *, after: bool) -> Iterator[Portal]:
    """A second portal on the first's database, which dies in the midst of its first creation."""
    server = Crash(mlflow_url, after=after)
    try:
        with portal(mlflow_url=server.url, database=mlflow_portal.database, ISOLATION="required") as running:
            server.victim = running.process.pid
            yield running
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("after", [False, True], ids=["before MLflow was called", "after MLflow's answer"])
def test_a_crash_leaves_a_pending_row_which_reconcile_settles_rightly(
    after, alice, name, mlflow_portal, mlflow_server
):
    with crashing_portal(mlflow_portal, mlflow_server.url, after=after) as dying:
        with pytest.raises((OSError, http.client.HTTPException)):
            dying.request(
                "POST", f"{API}/registered-models/create", key=alice.issued["key"], body={"name": name}
            )
        dying.process.wait(10)
    [row] = rows(mlflow_portal, alice.issued)
    assert (row["outcome"], row["object_name"]) == ("pending", name)

    result = mlflow_portal.manage("reconcile", "--all", "--json", check=False)

    assert result.returncode == 1
    settled = [found for found in json.loads(result.stdout)["settled"] if found["name"] == name]
    assert [found["outcome"] for found in settled] == ["done" if after else "not_done"]
    [row] = rows(mlflow_portal, alice.issued)
    assert (row["outcome"], row["reason"]) == ("done" if after else "not_done", "reconciled")
    if after:
        assert row["created_ms"] == alice.client.get_registered_model(name).creation_timestamp
        alice.client.update_registered_model(name, "still mine")  # the owner was written down, too
    else:
        alice.client.create_registered_model(name)
    assert mlflow_portal.manage("verify_ledger").returncode == 0
