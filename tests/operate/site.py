"""What an operator runs: PostgreSQL, MLflow and portals, each on its port, with data that can be lost."""

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from portal.one_machine.mlflow import Mlflow, is_mlflow, start_mlflow
from portal.one_machine.ports import free_port
from portal.one_machine.supervisor import Child, Watchdog
from tests.field.servers import ROOT, Field, Server
from tests.operate.calls import Reply, call
from tests.operate.postgresql import Cluster, Programs
from tests.signing_keys import new_signing_key

STARTED = time.monotonic()
UNLIMITED = ("--preset", "full", "--requests-per-minute", "1000000")


class Site(Field):
    """One PostgreSQL with databases for the portal and MLflow, one MLflow, and portals that share the secrets."""

    isolation = "required"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.mlflow_port = free_port()
        self.portal_database, self.mlflow_database = "portal", "mlflow"
        self.secrets = {
            "SECRET_KEY": secrets.token_urlsafe(50),
            "KEY_PEPPERS": secrets.token_urlsafe(32),
            "SIGNING_KEY": on_one_line(new_signing_key()),
        }

    def __enter__(self) -> "Site":
        self.watchdog = self.stack.enter_context(Watchdog(label=str(self.folder)))
        self.programs = Programs(self.folder, self.watchdog)
        self.stack.callback(self.programs.runtime.remove)
        self.database = self.cluster("primary")
        self.stack.callback(lambda: self.database.stop())
        self.database.create()
        self.mlflow_server = self.database
        return self

    def cluster(self, name: str) -> Cluster:
        return Cluster(programs=self.programs, data=self.folder / name, watchdog=self.watchdog)

    @property
    def mlflow_url(self) -> str:
        return f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def artifacts(self) -> Path:
        return self.folder / "mlflow" / "artifacts"

    @contextmanager
    def tracking(self) -> Iterator[None]:
        """MLflow, with its tables in the PostgreSQL and its artifacts in a folder."""
        folder = self.folder / "mlflow"
        folder.mkdir(exist_ok=True)

        def begin() -> Child:
            url = self.mlflow_server.url(self.mlflow_database, role="mlflow")
            started: Mlflow = start_mlflow(
                folder,
                database_url=url,
                watchdog=self.watchdog,
                port=self.mlflow_port,
                has_workspaces=self.isolation == "required",
            )
            return started.child

        with self.running(self.mlflow_url, begin, lambda: is_mlflow(self.mlflow_url, seconds=2)):
            yield

    def replica(self, name: str = "portal", **settings: str) -> Server:
        """A portal with a data folder of its own, not started; with the same name again, the same folder."""
        folder, port = self.folder / name, free_port()
        folder.mkdir(exist_ok=True)
        environment = plain_environment() | self.secrets
        environment |= {
            "DATABASE_URL": self.database.url(self.portal_database, role="portal"),
            "MLFLOW_URL": self.mlflow_url,
            "ISOLATION": self.isolation,
            "MLFLOW_CONCURRENCY": "3",
            "DATA_DIR": str(folder),
            "PORT": str(port),
            "PUBLIC_URL": f"http://127.0.0.1:{port}",
            "WORKERS": "1",
            **settings,
        }
        url = f"http://127.0.0.1:{port}"
        return Server(url=url, mlflow_url=self.mlflow_url, environment=environment, log=folder / "portal.log")

    def addresses(self) -> dict[str, str]:
        """The variables of docs/recovery.md beside those of the portal."""
        mlflow = self.mlflow_server.url(self.mlflow_database, role="mlflow")
        return {
            "ADMIN_URL": self.database.url("postgres"),
            "MLFLOW_DATABASE_URL": mlflow,
            "PGDATA": str(self.database.data),
        }

    def shell(self, script: str, server: Server, **settings: str) -> str:
        """What a script of an operator prints, with the portal's environment and PostgreSQL's programs."""
        path = os.pathsep.join([str(self.programs.clients), str(ROOT / ".venv" / "bin"), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=ROOT,
            env=server.environment | self.addresses() | {"PATH": path} | settings,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout


def note(text: str) -> None:
    """Print a step and the time since the start, if VERBOSE is set."""
    if os.environ.get("VERBOSE"):
        print(f"    {time.monotonic() - STARTED:6.1f} s  {text}", flush=True)


def plain_environment() -> dict[str, str]:
    """This process's, without what belongs to a portal, to MLflow or to PostgreSQL."""
    ours = ("MLFLOW_", "PG", "DATABASE_", "REDIS_", "SECRET_KEY", "KEY_PEPPERS", "GUNICORN_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"NO_PROXY": "127.0.0.1,localhost"}


def on_one_line(pem: str) -> str:
    """As docs/settings.md says for an environment that needs one line."""
    return pem.strip().replace("\n", "\\n")


def new_admin(server: Server) -> str:
    """A key that can revoke every key over the API."""
    server.issue("root", "setup")
    server.manage("set_role", "root", "superuser")
    return server.issue("root", "admin", "--scope", "portal:admin")


def revoke(server: Server, admin: str, key_id: str) -> Reply:
    return call(server.url, "POST", f"/api/v1/keys/{key_id}/revoke", key=admin, body={})


@contextmanager
def new_site() -> Iterator[Site]:
    """A site in a folder that PostgreSQL's user may enter; the folder goes with it."""
    folder = Path(tempfile.mkdtemp(prefix="hokusai-operate-"))
    folder.chmod(0o755)
    try:
        with Site(folder) as site:
            yield site
    finally:
        shutil.rmtree(folder, ignore_errors=True)
