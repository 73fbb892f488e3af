"""A portal as it is run: gunicorn in a process of its own, on a database of its own."""

import http.client
import io
import json
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

import psycopg
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connections

from portal.one_machine.ports import free_port
from tests.environment import RUN_DIR, WATCHDOG, database_is_allowed, once, postgres_url
from tests.fork_server import Forked, ForkServer

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Portal:
    url: str
    port: int
    database: str
    environment: dict[str, str]
    process: Forked
    log: Path

    def manage(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = manage(self.environment, *arguments)
        assert not (check and done.returncode), f"{arguments[:1]} failed:\n{done.stderr}"
        return done

    def issue(self, user: str = "alice", *options: str) -> dict[str, Any]:
        """A new key, by the command as it is; in this process, since to start one takes two seconds."""
        arguments = ["--user", user, "--name", "test", "--json", *options]
        issued: dict[str, Any] = json.loads(self.command("issue_key", *arguments))
        return issued

    def command(self, *arguments: str) -> str:
        """What a command prints, in this process."""
        with ThreadPoolExecutor(max_workers=1) as apart:  # Django refuses where a browser's event loop runs
            return apart.submit(command_on, self.database, *arguments).result()

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(postgres_url(self.database)) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def request(
        self,
        method: str,
        target: str,
        *,
        key: str | None = None,
        headers: list[tuple[str, str]] | None = None,
        body: Any = None,
        timeout: float = 60,
    ) -> Reply:
        """One request whose target and headers go out as they are written here."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        connection.putrequest(method, target, skip_accept_encoding=True)
        pairs = list(headers or [])
        if key:
            pairs.append(("Authorization", f"Bearer {key}"))
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            pairs.append(("Content-Type", "application/json"))
        names = {name.lower() for name, _ in pairs}
        if body is not None and not names & {"content-length", "transfer-encoding"}:
            pairs.append(("Content-Length", str(len(body))))
        for name, value in pairs:
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        reply = Reply(response.status, response.headers, response.read())
        connection.close()
        return reply

    def raw(self, *parts: bytes) -> bytes:
        """What comes back for these bytes until the portal closes or 5 s pass."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            for part in parts:
                connection.sendall(part)
            received = b""
            try:
                while piece := connection.recv(65536):
                    received += piece
            except (TimeoutError, ConnectionResetError):
                pass
            return received

    def exchange(self, *parts: bytes) -> Reply:
        """The first answer to these bytes, which had better say `Connection: close`."""
        return parsed(self.raw(*parts))

    def calls(self, *, at_least: int = 1, seconds: float = 2.0, **where: Any) -> list[dict[str, Any]]:
        """The usage log's rows that match, once there are `at_least` so many."""
        condition = " and ".join(f"{name} = %s" for name in where) or "true"
        return wait_for(
            lambda: self.rows(f"select * from proxy_call where {condition} order by id", *where.values()),
            lambda rows: len(rows) >= at_least,
            seconds=seconds,
        )

    def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        with psycopg.connect(postgres_url(self.database), row_factory=psycopg.rows.dict_row) as connection:
            return connection.execute(statement, values).fetchall()


@cache
def fork_server() -> ForkServer:
    """This process's own; it ends with the run."""
    import portal.urls  # noqa: F401  loads what portals need

    server = ForkServer(RUN_DIR / "forks")
    WATCHDOG.stop_group(server.process.pid, ((signal.SIGTERM, 5.0),))
    return server


def manage(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """`manage.py` with these arguments, in a process of its own."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = fork_server().start(
            str(ROOT / "manage.py"),
            *arguments,
            environment=environment,
            directory=ROOT,
            stdout=stdout,
            stderr=stderr,
        )
        try:
            status = process.wait(60)
        finally:
            process.kill()
        outputs = [read_again(file) for file in (stdout, stderr)]
    return subprocess.CompletedProcess(arguments, status, *outputs)


def read_again(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def command_on(database: str, *arguments: str) -> str:
    """What the command prints. In this thread Django's connection is one to that database of the run's PostgreSQL."""
    plain = connections["default"]
    other = plain.copy()
    other.settings_dict |= {"NAME": database, "OPTIONS": {**other.settings_dict["OPTIONS"], "pool": False}}
    connections["default"] = other
    told = io.StringIO()
    try:
        with database_is_allowed():
            call_command(*arguments, stdout=told, stderr=io.StringIO())
    finally:
        connections["default"] = plain
        other.close()
        ContentType.objects.clear_cache()  # the numbers of types differ between databases
    return told.getvalue()


def parsed(received: bytes) -> Reply:
    """The first HTTP answer in these bytes; AssertionError if there is none."""

    class Source:
        def makefile(self, mode: str) -> io.BytesIO:
            return io.BytesIO(received)

    assert received, "the connection was closed without an answer"
    response = http.client.HTTPResponse(Source())  # type: ignore[arg-type]
    response.begin()
    return Reply(response.status, response.headers, response.read())


def wait_for(look: Any, good: Any = bool, *, seconds: float = 10.0) -> Any:
    """What `look` returns once `good` says so; the last thing seen if it never does."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if good(seen) or time.monotonic() > deadline:
            return seen
        time.sleep(0.02)


def create_database(template: str = "template1") -> str:
    name = f"portal_{secrets.token_hex(4)}"
    with psycopg.connect(postgres_url("postgres"), autocommit=True) as connection:
        connection.execute(f'create database "{name}" template "{template}"')
    return name


def drop_database(name: str) -> None:
    with psycopg.connect(postgres_url("postgres"), autocommit=True) as connection:
        connection.execute(f'drop database "{name}" with (force)')


@cache
def migrated_database() -> str:
    """Made once in a run; the tests' own and each portal's is a copy of it."""
    return once("migrated_database", migrate_new_database)


def migrate_new_database() -> str:
    name = create_database()
    done = manage({**os.environ, "DATABASE_URL": postgres_url(name)}, "migrate", "--verbosity", "0")
    assert not done.returncode, done.stderr
    return name


def new_folder(name: str) -> Path:
    """An empty folder of this run's, which only we may enter."""
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=RUN_DIR))


@contextmanager
def portal(
    *, mlflow_url: str, database: str | None = None, config: str = "portal.server", **settings: str
) -> Iterator[Portal]:
    """A portal in front of `mlflow_url`; further settings as environment variables."""
    database = database or create_database(migrated_database())
    port = free_port()
    folder = new_folder("portal")
    environment = {
        **os.environ,
        "DATABASE_URL": postgres_url(database),
        "DATA_DIR": str(folder),
        "RECONCILE_SECONDS": "0",  # its questions would be among the calls that a test counts
        "MLFLOW_URL": mlflow_url,
        "PORT": str(port),
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        **settings,
    }
    arguments = ["--config", f"python:{config}", "portal.wsgi:application"]
    with gunicorn(*arguments, port=port, database=database, environment=environment) as running:
        yield running


@contextmanager
def gunicorn(
    *arguments: str, port: int, database: str, environment: dict[str, str], ready: str = "/health/live"
) -> Iterator[Portal]:
    """gunicorn on `port`, once it answers `ready` with 200; its output goes to DATA_DIR/portal.log."""
    log = Path(environment["DATA_DIR"]) / "portal.log"
    with log.open("wb") as output:
        process = fork_server().start(
            *("-m", "gunicorn", *arguments),
            environment=environment,
            directory=ROOT,
            stdout=output,
            stderr=output,
        )
    WATCHDOG.stop_group(process.pid, ((signal.SIGTERM, 5.0),))  # should this test run be killed
    running = Portal(f"http://127.0.0.1:{port}", port, database, environment, process, log)
    try:
        if not wait_for(lambda: process.poll() is not None or answers(running, ready), seconds=30) or (
            process.poll() is not None
        ):
            raise RuntimeError(f"the portal did not start:\n{log.read_text()}")
        yield running
    finally:
        process.terminate()
        try:
            process.wait(40)
        finally:
            process.kill()
            WATCHDOG.forget_group(process.pid)


def answers(running: Portal, target: str) -> bool:
    try:
        return running.request("GET", target).status == 200
    except OSError:
        return False
