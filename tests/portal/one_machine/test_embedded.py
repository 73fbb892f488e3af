import contextlib
import json
import os
import stat
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from portal.one_machine import embedded
from portal.one_machine.supervisor import POLL_SECONDS, StartError, Watchdog
from tests.portal import processes
from tests.portal.servers import FAST, hold, query, told_by

IS_ROOT = os.getuid() == 0

pytestmark = pytest.mark.postgresql


# --- PostgreSQL -------------------------------------------------------------------------------------------


def test_postgresql_has_both_databases_and_keeps_them_over_a_restart(closed: Path) -> None:
    with embedded.postgres(closed, settings=FAST) as server:
        assert server.version.startswith("18.")
        query(server.url("portal"), "CREATE TABLE kept AS SELECT 42 AS answer")
        assert query(server.url("mlflow"), "SELECT current_database()") == [("mlflow",)]
    with embedded.postgres(closed, settings=FAST) as server:
        assert query(server.url("portal"), "SELECT answer FROM kept") == [(42,)]


def test_it_listens_on_a_socket_that_only_its_user_may_open_and_nowhere_else(closed: Path) -> None:
    with embedded.postgres(closed, settings=FAST) as server:
        assert stat.S_IMODE(server.sockets.stat().st_mode) == 0o700
        assert psutil.Process(server.child.process.pid).net_connections(kind="inet") == []
        assert query(server.url(), "SHOW listen_addresses") == [("",)]


def test_text_is_utf8_and_sorted_alike_on_every_machine(closed: Path) -> None:
    with embedded.postgres(closed, settings=FAST) as server:
        assert query(server.url(), "SELECT lower('ÄÖ'), 'a' < 'B', current_setting('server_encoding')") == [
            ("äö", False, "UTF8")
        ]


def test_it_writes_durably_unless_told_otherwise(closed: Path) -> None:
    with embedded.postgres(closed) as server:
        assert query(server.url(), "SHOW fsync") == [("on",)]
        assert query(server.url(), "SHOW max_connections") == [("200",)]


def test_a_refused_statement_is_logged_without_its_values(closed: Path) -> None:
    with embedded.postgres(closed, settings=FAST) as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE TABLE once (value text PRIMARY KEY)")
            connection.execute("INSERT INTO once VALUES ('a-digest')")
            with pytest.raises(psycopg.errors.UniqueViolation):
                connection.execute("INSERT INTO once VALUES ('a-digest')")
        log = server.child.log.read_text()
    assert "duplicate key" in log
    assert "a-digest" not in log


def test_nothing_is_left_when_it_is_stopped(closed: Path, temporary: Path) -> None:
    with embedded.postgres(closed, settings=FAST) as server:
        family = processes.with_descendants(server.child.process.pid)
        assert len(family) > 1
    assert processes.none_left(family, closed)
    assert not list(temporary.iterdir())


def test_killing_its_parent_stops_it_and_leaves_nothing(closed: Path, temporary: Path) -> None:
    with hold(closed) as holder:
        told_by(holder)
        family = processes.with_descendants(holder.pid)
        holder.kill()
    assert processes.none_left(family, closed)
    assert not list(temporary.iterdir())
    assert "database system is shut down" in (closed / "logs" / "postgres.log").read_text()


def test_it_starts_again_after_everything_was_killed_at_once(closed: Path, temporary: Path) -> None:
    with hold(closed) as holder:
        query(told_by(holder)["url"], "CREATE TABLE kept AS SELECT 42 AS answer")
        family = processes.with_descendants(holder.pid)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):  # PostgreSQL's own end with the first of them
                process.kill()
    assert processes.none_left(family, closed)
    assert (closed / "postgres" / "postmaster.pid").exists()
    with embedded.postgres(closed, settings=FAST) as server:
        assert query(server.url(), "SELECT answer FROM kept") == [(42,)]
    assert not list(temporary.iterdir())
    assert not (closed / "runtime").exists()


@pytest.mark.skipif(not Path("/proc").exists(), reason="found by way of /proc")
def test_one_that_was_orphaned_is_stopped_before_the_next_starts(closed: Path) -> None:
    with hold(closed) as holder:
        orphan = psutil.Process(told_by(holder)["pid"])
        for process in [*orphan.parent().children(), holder]:  # type: ignore[union-attr]
            if process.pid != orphan.pid:
                process.kill()
    assert processes.is_running(orphan)
    with embedded.postgres(closed, settings=FAST) as server:
        assert not processes.is_running(orphan)
        assert query(server.url(), "SELECT 1") == [(1,)]


def test_a_lock_file_whose_number_is_another_process_by_now_does_not_prevent_a_start(closed: Path) -> None:
    with embedded.postgres(closed, settings=FAST):
        pass
    unrelated = subprocess.Popen(
        ["sleep", "600"], user="nobody" if IS_ROOT else None, cwd="/", start_new_session=True
    )
    try:
        lock = f"{unrelated.pid}\n/nowhere\n1700000000\n5432\n/nowhere\n\n  1 1\nready\n"
        (closed / "postgres" / "postmaster.pid").write_text(lock)
        with embedded.postgres(closed, settings=FAST) as server:
            assert query(server.url(), "SELECT 1") == [(1,)]
        assert unrelated.poll() is None
    finally:
        unrelated.kill()
        unrelated.wait()


def test_a_first_start_that_was_cut_short_is_made_again(closed: Path) -> None:
    (closed / "postgres.new" / "base").mkdir(parents=True)
    with embedded.postgres(closed, settings=FAST) as server:
        assert query(server.url(), "SELECT 1") == [(1,)]
    assert not (closed / "postgres.new").exists()


def test_a_failed_start_names_the_reason_and_the_log_and_leaves_nothing(
    closed: Path, temporary: Path
) -> None:
    reason = r"PostgreSQL ended while starting .*max_connections.*logs/postgres\.log"
    with (
        pytest.raises(StartError, match=reason),
        embedded.postgres(closed, settings={"max_connections": "many"}),
    ):
        pass
    assert processes.none_left([], closed)
    assert not list(temporary.iterdir())


# --- a PostgreSQL of the operator's own -------------------------------------------------------------------


def test_mlflow_gets_a_database_beside_the_portals(closed: Path) -> None:
    with embedded.postgres(closed, settings=FAST) as server:
        address = embedded.second_database(server.url("portal"))
        assert embedded.second_database(server.url("portal")) == address  # made once
        assert query(address, "SELECT current_database()") == [("portal_mlflow",)]
        with create_engine(embedded.mlflow_backend(address), poolclass=NullPool).connect() as connection:
            assert connection.exec_driver_sql("SELECT current_database()").scalar() == "portal_mlflow"


def test_a_database_that_may_not_be_made_is_one_clear_line(closed: Path) -> None:
    with embedded.postgres(closed, settings=FAST) as server:
        query(server.url(), "CREATE ROLE limited LOGIN")
        limited = server.url().replace("postgres@", "limited@")
        with pytest.raises(StartError, match=r"portal_mlflow, which cannot be made .* set MLFLOW_URL"):
            embedded.second_database(limited)
        assert embedded.server_version(limited) == server.version


def test_a_postgresql_that_does_not_answer_is_one_clear_line_without_the_password() -> None:
    with pytest.raises(StartError, match="DATABASE_URL: connection") as caught:
        embedded.server_version("postgresql://portal:hunter2@127.0.0.1:9/portal")
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("postgresql://me:secret@db:5433/portal", "postgresql://me@/portal?host=db&port=5433"),
        ("postgresql://me@db/portal?sslmode=require", "postgresql://me@/portal?host=db&sslmode=require"),
        ("host=db dbname=portal user=me password=s%40", "postgresql://me@/portal?host=db"),
    ],
)
def test_an_address_is_shown_without_its_password(address: str, expected: str) -> None:
    assert embedded.without_password(address) == expected


# --- MLflow -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[embedded.Mlflow, embedded.Postgres]]:
    """MLflow as `make run` starts it, from a process with secrets in its environment."""
    data = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SECRET_KEY", "KEY_PEPPERS", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "a-secret-of-the-portal")
        patch.setenv("MLFLOW_SERVER_ALLOWED_HOSTS", "a-setting-of-mlflow")
        with (
            embedded.postgres(data, settings=FAST) as postgres,
            embedded.mlflow(data, database_url=postgres.url("mlflow")) as server,
        ):
            yield server, postgres


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.load(answer)


@pytest.mark.mlflow
def test_mlflow_keeps_its_tables_in_its_own_database(
    mlflow: tuple[embedded.Mlflow, embedded.Postgres],
) -> None:
    _, postgres = mlflow
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert query(postgres.url("mlflow"), tables)[0][0] > 20
    assert query(postgres.url("portal"), tables) == [(0,)]


@pytest.mark.mlflow
def test_clients_are_told_to_send_artifacts_to_the_server(
    mlflow: tuple[embedded.Mlflow, embedded.Postgres],
) -> None:
    server, _ = mlflow
    experiment = get(f"{server.url}/api/2.0/mlflow/experiments/get?experiment_id=0")["experiment"]
    assert experiment["artifact_location"].startswith("mlflow-artifacts:/")


@pytest.mark.mlflow
def test_mlflow_inherits_no_secret_and_no_setting(mlflow: tuple[embedded.Mlflow, embedded.Postgres]) -> None:
    server, _ = mlflow
    family = processes.with_descendants(server.child.process.pid)
    assert len(family) == 2  # the command and its one worker
    for process in family:
        values = set(process.environ().values())
        assert not values & {"a-secret-of-the-portal", "a-setting-of-mlflow"}
        assert os.getpgid(process.pid) == server.child.process.pid
        assert not any("postgresql" in word for word in process.cmdline())


@pytest.mark.mlflow
def test_mlflow_listens_on_loopback_alone(mlflow: tuple[embedded.Mlflow, embedded.Postgres]) -> None:
    server, _ = mlflow
    listening = {
        connection.laddr.ip
        for process in processes.with_descendants(server.child.process.pid)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


@pytest.mark.mlflow
def test_jobs_gateway_and_telemetry_are_off(mlflow: tuple[embedded.Mlflow, embedded.Postgres]) -> None:
    server, _ = mlflow
    environment = psutil.Process(server.child.process.pid).environ()
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(f"{server.url}/api/3.0/mlflow/gateway/endpoints/list")
    with caught.value as answer:
        assert answer.code >= 400
        assert b"AI Gateway feature is disabled" in answer.read()


@pytest.mark.mlflow
def test_killing_the_parent_stops_mlflow_and_its_workers(tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from portal import embedded
from portal.one_machine.supervisor import Watchdog
data, watchdog = Path(sys.argv[1]), Watchdog(label=sys.argv[1])
postgres = embedded.start_postgres(data, watchdog=watchdog, settings={FAST!r})
server = embedded.start_mlflow(data, database_url=postgres.url("mlflow"), watchdog=watchdog)
server.wait_until_ready()
print('{{"ready": true}}', flush=True)
time.sleep(600)
"""
    with hold(tmp_path, code=code) as parent:
        assert told_by(parent) == {"ready": True}
        family = processes.with_descendants(parent.pid)
        parent.kill()
    assert processes.none_left(family, tmp_path)


def test_an_mlflow_that_cannot_start_is_reported_with_its_log(tmp_path: Path) -> None:
    with Watchdog(label=str(tmp_path)) as watchdog:
        server = embedded.start_mlflow(
            tmp_path, database_url="postgresql://127.0.0.1:9/nothing", watchdog=watchdog
        )
        try:
            with pytest.raises(StartError, match=r"MLflow .*logs/mlflow\.log"):
                server.wait_until_ready(seconds=8 * POLL_SECONDS)
        finally:
            server.stop()
    assert processes.none_left([], tmp_path)


def test_a_free_port_is_below_the_range_the_system_hands_out() -> None:
    assert 20_000 <= embedded.free_port() < 32_000
