"""Whether MLflow keeps organisations apart, and whether an organisation's workspace exists there.

With ISOLATION=required, no call is sent to a server without workspaces: one before 3.10 would ignore the header and
answer from everybody's objects. A server may be restarted without the flag while the portal runs, so each process asks
again every EVERY_SECONDS while it is called, and before a call if it has not heard for MOST_SECONDS.
"""

import json
import logging
import threading
import time
from dataclasses import dataclass, field

from django.conf import settings

from keys.refusals import Refusal, not_sent, unavailable
from proxy.request import messages
from proxy.upstream import server_routes
from proxy.upstream.workspaces import ServerRoute, Workspace

logger = logging.getLogger(__name__)

EVERY_SECONDS = 20.0
MOST_SECONDS = 50.0
TIMEOUT = 10.0  # seconds
DESCRIPTION = "An organisation of the registry portal, which creates and uses this workspace."


@dataclass
class Server:
    """What is known of the server at `url`: the workspaces that exist, and why it is not used ("": it is)."""

    url: str
    problem: str = ""
    asked: float = float("-inf")  # monotonic
    workspaces: set[str] = field(default_factory=set)
    is_asking: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def refresh(self) -> None:
        """Ask the server whether it has workspaces, if that is due. Raises Refusal (429) if it must answer first and
        does not."""
        age = time.monotonic() - self.asked
        if age < EVERY_SECONDS:
            return
        if age > MOST_SECONDS:
            with self.lock:
                if time.monotonic() - self.asked > MOST_SECONDS:
                    self.ask()
        elif not self.is_asking:
            self.is_asking = True
            threading.Thread(target=self.ask_aside, name="isolation", daemon=True).start()

    def ask_aside(self) -> None:
        try:
            with self.lock:
                self.ask()
        except Refusal:  # logged by the client; MOST_SECONDS bounds the trust in the last answer
            return
        finally:
            self.is_asking = False

    def ask(self) -> None:
        response = server_routes.ask_server(self.url, ServerRoute.INFO, timeout=TIMEOUT)
        problem = find_problem(response.status, response.data)
        if problem != self.problem:
            logger.warning("isolation_changed", extra={"problem": problem or "none"})
        if problem:
            self.workspaces.clear()
        self.problem, self.asked = problem, time.monotonic()

    def ensure(self, slug: str) -> None:
        """Create the workspace if the server lacks it. Raises Refusal (429)."""
        with self.lock:
            if slug in self.workspaces:
                return
            found = server_routes.ask_server(self.url, ServerRoute.WORKSPACES, name=slug, timeout=TIMEOUT)
            found.data  # noqa: B018  reads it, so that the connection can be used again
            if found.status == 404:
                self.create(slug)
            elif found.status != 200:
                raise no_workspace(slug)
            self.workspaces.add(slug)

    def create(self, slug: str) -> None:
        body = json.dumps({"name": slug, "description": DESCRIPTION}).encode()
        made = server_routes.ask_server(
            self.url, ServerRoute.WORKSPACES, method="POST", body=body, timeout=TIMEOUT
        )
        exists = b"RESOURCE_ALREADY_EXISTS" in made.data  # another process was faster
        if made.status not in (200, 201) and not exists:
            raise no_workspace(slug)
        logger.info("workspace_created", extra={"workspace": slug})


servers: dict[str, Server] = {}


def find_problem(status: int, body: bytes) -> str:
    """Why the server that responded so to `server-info` may not be used; "" if it may."""
    try:
        content = messages.decode(body) if status == 200 else {}
    except Refusal:
        content = {}
    if content.get("workspaces_enabled") is True:
        return ""
    if status == 404 or (status == 200 and "workspaces_enabled" not in content):
        return "MLflow is older than 3.10, and has no workspaces"
    if status == 200:
        return "MLflow runs without --enable-workspaces"
    return f"MLflow did not state whether it has workspaces (status {status})"


def require(url: str, workspace: Workspace) -> None:
    """Raise Refusal (503) if the server at `url` must keep organisations apart and does not; 429 if it does not
    answer. Creates the organisation's workspace at its first call."""
    if settings.ISOLATION == "off":
        return
    server = servers.get(url) or servers.setdefault(url, Server(url=url))
    server.refresh()
    if server.problem:
        raise not_isolated(server.problem)
    if workspace.slug not in server.workspaces:
        server.ensure(workspace.slug)


def problem_of(url: str) -> str:
    """Why the server at `url` is not used, asked anew if that is due; "" if it is. Raises Refusal (429)."""
    if settings.ISOLATION == "off":
        return ""
    server = servers.get(url) or servers.setdefault(url, Server(url=url))
    server.refresh()
    return server.problem


def not_isolated(problem: str) -> Refusal:
    return unavailable(
        "isolation_missing",
        f"This registry is not served just now: {problem}, so that organisations could read each other's "
        "objects. Your administrator must start MLflow from 3.10 with --enable-workspaces, or set ISOLATION=off.",
    )


def no_workspace(slug: str) -> Refusal:
    return not_sent(
        "workspace_missing",
        f"MLflow did not create the workspace of the organisation “{slug}”, so the portal did not send your call "
        "there. Try again in a few seconds.",
    )
