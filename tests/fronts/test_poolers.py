"""PgBouncer between a portal and PostgreSQL, in both modes, with a pool that is smaller than
the number of the portal's threads: `make fronts`."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from portal.one_machine.ports import free_port
from tests.environment import postgres_url
from tests.portals import Portal, create_database, migrated_database, portal, wait_for
from tests.proxy.forwarding.test_forwarding import GET_EXPERIMENT

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.skipif("FRONTS" not in os.environ, reason="make fronts runs it"),
    pytest.mark.skipif(not shutil.which("pgbouncer"), reason="pgbouncer is not installed"),
]

CONFIGURATION = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
"""
CALLS, CALLERS, THREADS = 24, 4, 12


@contextmanager
def pgbouncer(folder: Path, *, mode: str, size: int) -> Iterator[int]:
    """Yields the port of a PgBouncer in front of the run's PostgreSQL."""
    url = urlsplit(postgres_url("postgres"))
    query = parse_qs(url.query)
    listen = free_port()
    text = CONFIGURATION.format(
        host=query.get("host", [url.hostname])[0],
        port=query.get("port", [url.port or 5432])[0],
        user=query.get("user", [url.username or "postgres"])[0],
        listen=listen,
        mode=mode,
        size=size,
    )
    folder.chmod(0o755)
    (folder / "pgbouncer.ini").write_text(text)
    account = ["-u", "nobody"] if os.getuid() == 0 else []
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["pgbouncer", *account, str(folder / "pgbouncer.ini")], stdout=log, stderr=log
        )
    try:
        assert wait_for(lambda: accepts(listen)), (folder / "log").read_text()
        yield listen
    finally:
        process.terminate()
        process.wait(20)


def accepts(port: int) -> bool:
    try:
        psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def has_problem(running: Portal) -> bool:
    return "notifications" in running.request("GET", "/health").json()["checks"]


@pytest.mark.parametrize(
    ("mode", "size", "is_heard"), [("session", 8, True), ("transaction", 4, False), ("direct", 4, True)]
)
def test_a_portal_works_behind_pgbouncer(
    mode: str, size: int, is_heard: bool, echo: Any, tmp_path: Path
) -> None:
    """`direct`: in transaction mode, with DATABASE_LISTEN_URL past the pooler."""
    database = create_database(migrated_database())
    past = {"DATABASE_LISTEN_URL": postgres_url(database)} if mode == "direct" else {}
    with (
        pgbouncer(tmp_path, mode="transaction" if past else mode, size=size) as port,
        portal(
            mlflow_url=echo.url,
            database=database,
            DATABASE_URL=f"postgresql://postgres@127.0.0.1:{port}/{database}",
            THREADS=str(THREADS),
            **past,
        ) as running,
    ):
        key = running.issue("alice", "--any-owner", "--preset", "full")

        def create(number: int) -> int:
            path = "/api/mlflow/api/2.0/mlflow/registered-models/create"
            return running.request("POST", path, key=key["key"], body={"name": f"model-{number}"}).status

        with ThreadPoolExecutor(CALLERS) as threads:
            assert set(threads.map(create, range(CALLS))) == {200}
        assert running.request("GET", GET_EXPERIMENT, key=key["key"]).status == 200
        rows = "SELECT count(*) FROM proxy_call"
        assert wait_for(lambda: running.sql(rows)[0][0] == CALLS + 1)
        assert wait_for(lambda: has_problem(running) != is_heard)
        running.sql("UPDATE keys_apikey SET revoked_at = now() WHERE public_id = %s", key["id"])
        started = time.monotonic()
        assert wait_for(lambda: running.request("GET", GET_EXPERIMENT, key=key["key"]).status == 401)
        assert time.monotonic() - started < 2
