"""The embedded MLflow server: started on loopback, with its tables in PostgreSQL and its artifacts in DATA_DIR."""

import contextlib
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from portal.one_machine.ports import free_port
from portal.one_machine.supervisor import Child, Watchdog, minimal_environment, start, wait_until_ready

PROGRAM = Path(__file__).with_name("mlflow_server.py")
START_SECONDS = 180.0  # the first start creates some sixty tables, perhaps on a slow disk

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
class Mlflow:
    """An MLflow server that was started; it is ready after ``wait_until_ready``."""

    child: Child
    url: str

    def wait_until_ready(
        self, *, seconds: float = START_SECONDS, stopping: threading.Event | None = None
    ) -> None:
        """Return once it responds. Raises StartError if it ends first or takes longer than ``seconds``."""
        wait_until_ready(self.child, self.is_healthy, seconds=seconds, stopping=stopping)

    def is_healthy(self) -> bool:
        """Whether its health check responds within 2 seconds."""
        return is_mlflow(self.url, seconds=2)

    def stop(self) -> None:
        """Stop it and its workers."""
        self.child.stop()


def start_mlflow(
    data_dir: Path,
    *,
    database_url: str,
    watchdog: Watchdog,
    port: int | None = None,
    has_workspaces: bool = True,
) -> Mlflow:
    """Start a stock MLflow server on loopback, its tables in ``database_url``, artifacts in ``data_dir``.

    Returns at once, because its imports take seconds, during which other parts can start. Raises StartError.
    """
    data_dir = data_dir.resolve()
    port = port or free_port()
    home = data_dir / "mlflow"
    artifacts = data_dir / "artifacts"
    for folder in (home, artifacts):
        folder.mkdir(mode=0o700, exist_ok=True)
    environment = minimal_environment() | MLFLOW_ENVIRONMENT
    # In the environment, because every user of the machine can read the command line.
    environment["MLFLOW_BACKEND_STORE_URI"] = mlflow_backend(database_url)
    environment["HOME"] = str(home)
    child = start(
        "MLflow",
        [
            *(sys.executable, str(PROGRAM), "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--workers", MLFLOW_WORKERS, "--uvicorn-opts", MLFLOW_UVICORN_OPTIONS),
            *("--serve-artifacts", "--artifacts-destination", artifacts.as_uri()),
            "--enable-workspaces" if has_workspaces else "--disable-workspaces",
        ],
        log=data_dir / "logs" / "mlflow.log",
        watchdog=watchdog,
        environment=environment,
        directory=home,
    )
    return Mlflow(child=child, url=f"http://127.0.0.1:{port}")


def has_files_outside_workspaces(data_dir: Path) -> bool:
    """Whether experiments of an MLflow without workspaces have files here; MLflow's own experiment does not count."""
    folders = (data_dir / "artifacts").glob("[0-9]*")
    return any(folder.name.isdigit() and folder.name != "0" for folder in folders)


def mlflow_backend(database_url: str) -> str:
    """A ``postgresql://`` address as SQLAlchemy wants it for psycopg2.

    psycopg 3, which the portal uses, also sends types, and MLflow compares integers with text.
    """
    scheme, separator, rest = database_url.partition("://")
    return f"postgresql+psycopg2{separator}{rest}" if scheme in ("postgres", "postgresql") else database_url


def is_mlflow(url: str, *, seconds: float) -> bool:
    """Whether an MLflow server responds to its health check at ``url``."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url.rstrip('/')}/health", timeout=seconds) as response:
            return bool(response.status == 200 and response.read(16).strip() == b"OK")
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def running_mlflow(data_dir: Path, *, database_url: str) -> Iterator[Mlflow]:
    """A ready MLflow server within a `with` block; it also ends when this process is killed."""
    with Watchdog(label=str(data_dir)) as watchdog:
        server = start_mlflow(data_dir, database_url=database_url, watchdog=watchdog)
        try:
            server.wait_until_ready()
            yield server
        finally:
            server.stop()
