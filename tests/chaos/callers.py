"""Clients that call a portal without end and remember what they saw, and a PostgreSQL to switch off."""

import contextlib
import http.client
import itertools
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg

from portal.one_machine.postgres import Postgres, start_postgres
from portal.one_machine.supervisor import Watchdog
from tests.portals import Portal, wait_for

RUN = "5" * 32
READ = ("GET", "/api/mlflow/api/2.0/mlflow/experiments/get?experiment_id=0", b"")
WRITE = (
    "POST",
    "/api/mlflow/api/2.0/mlflow/runs/log-metric",
    json.dumps({"run_id": RUN, "key": "loss", "value": 0.5, "timestamp": 1}).encode(),
)


@dataclass(frozen=True)
class Seen:
    """An answer that came whole."""

    request_id: str
    status: int
    started: float  # on the monotonic clock
    seconds: float
    size: int


@dataclass
class Caller:
    """One connection after another, calls in turn: reads and metrics."""

    portal: Portal
    key: str
    calls: tuple[tuple[str, str, bytes], ...] = (READ, WRITE)
    pause: float = 0.0
    seen: list[Seen] = field(default_factory=list)
    cut_off: int = 0  # answers that began and did not end
    since_connected: int = 0

    def run(self, stop: threading.Event) -> None:
        connection: http.client.HTTPConnection | None = None
        for call in itertools.cycle(self.calls):
            if stop.wait(self.pause):
                break
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.portal.port, timeout=60)
                self.since_connected = 0
            try:
                self.seen.append(self.answer(connection, *call))
                self.since_connected += 1
            except (OSError, http.client.HTTPException):
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def answer(self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes) -> Seen:
        started = time.monotonic()
        headers = {"Authorization": f"Bearer {self.key}"}
        if body:
            headers["Content-Type"] = "application/json"
        connection.request(method, path, body=body or None, headers=headers)
        response = connection.getresponse()
        try:
            size = len(response.read())
        except (OSError, http.client.HTTPException):
            self.cut_off += 1
            raise
        request_id = response.headers["X-Request-ID"]
        return Seen(request_id, response.status, started, time.monotonic() - started, size)


@dataclass
class Crowd:
    callers: list[Caller]
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def seen(self) -> list[Seen]:
        return [seen for caller in self.callers for seen in list(caller.seen)]

    def wait_until(self, count: int) -> None:
        """Until so many calls have been answered."""
        assert wait_for(lambda: len(self.seen) >= count, seconds=120), f"only {len(self.seen)} answers"

    def wait_until_settled(self) -> None:
        """Until each has done all its calls on the connection that it has now."""
        for caller in self.callers:
            assert wait_for(lambda: caller.since_connected > len(caller.calls), seconds=30)  # noqa: B023

    def pace(self, pause: float) -> None:
        for caller in self.callers:
            caller.pause = pause


@contextmanager
def calling(callers: list[Caller]) -> Iterator[Crowd]:
    crowd = Crowd(callers)
    threads = [threading.Thread(target=caller.run, args=[crowd.stop], daemon=True) for caller in callers]
    for thread in threads:
        thread.start()
    try:
        yield crowd
    finally:
        crowd.stop.set()
        for thread in threads:
            thread.join(70)


def kill_a_worker(portal: Portal) -> None:
    """kill -9, and return once there is another in its place."""
    before = workers(portal)
    victim = min(before)
    psutil.Process(victim).kill()
    assert wait_for(lambda: len(workers(portal) - {victim}) == len(before), seconds=30)


def workers(portal: Portal) -> set[int]:
    children = psutil.Process(portal.process.pid).children()
    return {child.pid for child in children if child.status() != psutil.STATUS_ZOMBIE}


def group_runs(leader: int) -> bool:
    """Whether a process of the leader's group is left; one that ended and was not collected does not count."""
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(OSError):
            if os.getpgid(process.pid) == leader and process.info["status"] != psutil.STATUS_ZOMBIE:
                return True
    return False


class Switch:
    """A PostgreSQL of its own that can be stopped and started; its address stays."""

    def __init__(self, folder: Path, watchdog: Watchdog) -> None:
        self.folder, self.watchdog = folder, watchdog
        self.sockets = folder / "at"
        self.server: Postgres | None = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@:5432/portal?host={self.sockets}"

    def start(self) -> None:
        settings = {"fsync": "off", "full_page_writes": "off"}
        self.server = start_postgres(self.folder / "data", watchdog=self.watchdog, settings=settings)
        self.sockets.unlink(missing_ok=True)
        self.sockets.symlink_to(self.server.sockets)

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
            self.server = None

    def kill(self) -> None:
        """kill -9 of its first process, as by the kernel without memory; the others notice and end by themselves."""
        assert self.server is not None
        leader = self.server.child.process
        leader.kill()
        leader.wait(30)
        assert wait_for(lambda: not group_runs(leader.pid), seconds=30), "PostgreSQL's processes outlive it"
        self.stop()

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with contextlib.closing(psycopg.connect(self.url, autocommit=True)) as connection:
            return connection.execute(statement, values).fetchall()
