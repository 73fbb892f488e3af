"""MLflow servers of any release, and portals in front of them, each with a database of its own."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

import psycopg

from portal.one_machine.mlflow import MLFLOW_ENVIRONMENT, is_mlflow
from portal.one_machine.ports import free_port
from portal.one_machine.postgres import Postgres, create_database, running_postgres
from portal.one_machine.supervisor import Child, Watchdog, minimal_environment, start, wait_until_ready
from tests.field.environments import Environment, variables

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 180.0
LOG_SECONDS = 30.0
OPENER = build_opener(ProxyHandler({}))


@dataclass(frozen=True, kw_only=True)
class Server:
    """A portal and the MLflow behind it."""

    url: str
    mlflow_url: str
    environment: dict[str, str]
    log: Path

    @property
    def tracking_uri(self) -> str:
        return f"{self.url}/api/mlflow"

    def manage(self, *arguments: str) -> str:
        """What this command of `manage.py` prints."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            check=True,
        )
        return done.stdout.decode()

    def issue(self, user: str, name: str, *options: str) -> str:
        """The secret of a new key."""
        told = self.manage("issue_key", "--user", user, "--name", name, "--json", *options)
        return str(json.loads(told)["key"])

    def new_experiment(self, user: str, name: str) -> str:
        """The id of a new experiment that belongs to this user."""
        request = Request(
            f"{self.tracking_uri}/api/2.0/mlflow/experiments/create",
            data=json.dumps({"name": name}).encode(),
            headers={
                "Content-Type": "application/json",
                "Authorization": f"Bearer {self.issue(user, 'setup')}",
            },
        )
        with OPENER.open(request, timeout=60) as response:
            return str(json.load(response)["experiment_id"])

    def wait_until_logged(self) -> None:
        """Return when all answered calls are in the usage log."""
        end = time.monotonic() + LOG_SECONDS
        while True:
            with OPENER.open(f"{self.url}/health", timeout=60) as response:
                if json.load(response)["checks"]["spool"]["backlog"] == 0:
                    return
            if time.monotonic() > end:
                raise TimeoutError("calls wait to be written to the usage log")
            time.sleep(0.1)

    def operations(self, user: str) -> dict[str, int]:
        """How often each operation of this user's calls succeeded, from the usage log."""
        with psycopg.connect(self.environment["DATABASE_URL"]) as connection:
            rows = connection.execute(
                "select operation, count(*) from proxy_call join keys_user on keys_user.id = proxy_call.user_id"
                " where username = %s and status < 400 group by 1",
                [user],
            ).fetchall()
        return {str(operation): int(count) for operation, count in rows}


class Field:
    """Starts servers; all of them stop at the end of the `with` block, or when this process is killed."""

    isolation = "off"  # most of these releases have no workspaces
    options: tuple[str, ...] = ()  # of MLflow's server, besides those that all have
    python = sys.executable  # that runs the portals

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = ExitStack()
        self.children: dict[str, Child] = {}  # by URL
        self.restarts: dict[str, Callable[[], None]] = {}

    def __enter__(self) -> "Field":
        self.watchdog = self.stack.enter_context(Watchdog(label=str(self.folder)))
        self.postgres: Postgres = self.stack.enter_context(running_postgres(self.folder / "postgresql"))
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()

    @contextmanager
    def server(self, name: str, installed: Environment) -> Iterator[Server]:
        """A portal in front of the MLflow of this environment."""
        folder = self.folder / name
        folder.mkdir()
        database = f"portal_{secrets.token_hex(4)}"
        with psycopg.connect(self.postgres.url("postgres"), autocommit=True) as connection:
            create_database(connection, database)
        port = free_port()
        with ExitStack() as stack:
            mlflow_url = stack.enter_context(self.mlflow(folder, installed))
            environment = os.environ | {
                "DATABASE_URL": self.postgres.url(database),
                "MLFLOW_URL": mlflow_url,
                "ISOLATION": self.isolation,
                "MLFLOW_CONCURRENCY": "3",  # as `make run` sets it for an MLflow of one worker
                "SECRET_KEY": secrets.token_urlsafe(50),
                "KEY_PEPPERS": secrets.token_urlsafe(32),
                "DATA_DIR": str(folder),
                "PORT": str(port),
                "PUBLIC_URL": f"http://127.0.0.1:{port}",
                "WORKERS": "1",
                "NO_PROXY": "127.0.0.1,localhost",
            }
            server = Server(
                url=f"http://127.0.0.1:{port}",
                mlflow_url=mlflow_url,
                environment=environment,
                log=folder / "portal.log",
            )
            server.manage("migrate", "--verbosity", "0")
            stack.enter_context(self.portal(server))
            yield server

    def portal(self, server: Server) -> AbstractContextManager[None]:
        command = [
            self.python,
            "-m",
            "gunicorn",
            "--config",
            "python:portal.server",
            "portal.wsgi:application",
        ]

        def begin() -> Child:
            return start(
                "the portal",
                command,
                log=server.log,
                watchdog=self.watchdog,
                environment=server.environment,
                directory=str(ROOT),
            )

        return self.running(server.url, begin, lambda: is_mlflow_behind(server))

    @contextmanager
    def store(self, folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
        """Where MLflow stores artifacts, and the variables that it needs for that."""
        yield str(folder / "artifacts"), {}

    @contextmanager
    def mlflow(self, folder: Path, installed: Environment) -> Iterator[str]:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        # Releases before 3 start gunicorn by its name.
        own = {"HOME": str(folder), "PATH": variables(installed.folder)["PATH"]}
        with self.store(folder) as (destination, settings):

            def begin() -> Child:
                return start(
                    "MLflow",
                    [
                        *(
                            installed.python,
                            "-m",
                            "mlflow",
                            "server",
                            "--host",
                            "127.0.0.1",
                            "--port",
                            str(port),
                        ),
                        *("--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"),
                        *("--serve-artifacts", "--artifacts-destination", destination, *self.options),
                    ],
                    log=folder / "mlflow.log",
                    watchdog=self.watchdog,
                    environment=minimal_environment() | MLFLOW_ENVIRONMENT | own | settings,
                    directory=str(folder),
                )

            with self.running(url, begin, lambda: is_mlflow(url, seconds=2)):
                yield url

    @contextmanager
    def running(self, url: str, begin: Callable[[], Child], is_ready: Callable[[], bool]) -> Iterator[None]:
        """A child that `restart` can restart."""
        self.restarts[url] = lambda: self.begin(url, begin, is_ready)
        try:
            self.begin(url, begin, is_ready)
            yield
        finally:
            self.children.pop(url).stop()

    def begin(self, url: str, begin: Callable[[], Child], is_ready: Callable[[], bool]) -> None:
        self.children[url] = child = begin()
        wait_until_ready(child, is_ready, seconds=START_SECONDS)

    def restart(self, url: str) -> None:
        """Stop the MLflow or the portal with this URL, start it again, and wait until it responds."""
        self.children[url].stop()
        self.restarts[url]()


def is_mlflow_behind(server: Server) -> bool:
    """Whether the portal responds and reaches MLflow."""
    try:
        with OPENER.open(f"{server.url}/health/mlflow", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
