import contextlib
import os
import stat
import subprocess
from pathlib import Path

import psutil
import psycopg
import pytest

from portal.one_machine.postgres import running_postgres
from portal.one_machine.supervisor import StartError
from tests.portal import processes
from tests.portal.servers import FAST, hold, query, told_by

IS_ROOT = os.getuid() == 0

pytestmark = pytest.mark.postgresql


def test_postgresql_has_both_databases_and_keeps_them_over_a_restart(closed: Path) -> None:
    with running_postgres(closed, settings=FAST) as server:
        assert server.version.startswith("18.")
        query(server.url("portal"), "CREATE TABLE kept AS SELECT 42 AS answer")
        assert query(server.url("mlflow"), "SELECT current_database()") == [("mlflow",)]
    with running_postgres(closed, settings=FAST) as server:
        assert query(server.url("portal"), "SELECT answer FROM kept") == [(42,)]


def test_it_listens_on_a_socket_that_only_its_user_may_open_and_nowhere_else(closed: Path) -> None:
    with running_postgres(closed, settings=FAST) as server:
        assert stat.S_IMODE(server.sockets.stat().st_mode) == 0o700
        assert psutil.Process(server.child.process.pid).net_connections(kind="inet") == []
        assert query(server.url(), "SHOW listen_addresses") == [("",)]


def test_text_is_utf8_and_sorted_alike_on_every_machine(closed: Path) -> None:
    with running_postgres(closed, settings=FAST) as server:
        assert query(server.url(), "SELECT lower('ÄÖ'), 'a' < 'B', current_setting('server_encoding')") == [
            ("äö", False, "UTF8")
        ]


def test_it_writes_durably_unless_told_otherwise(closed: Path) -> None:
    with running_postgres(closed) as server:
        assert query(server.url(), "SHOW fsync") == [("on",)]
        assert query(server.url(), "SHOW max_connections") == [("200",)]


def test_a_refused_statement_is_logged_without_its_values(closed: Path) -> None:
    with running_postgres(closed, settings=FAST) as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE TABLE once (value text PRIMARY KEY)")
            connection.execute("INSERT INTO once VALUES ('a-digest')")
            with pytest.raises(psycopg.errors.UniqueViolation):
                connection.execute("INSERT INTO once VALUES ('a-digest')")
        log = server.child.log.read_text()
    assert "duplicate key" in log
    assert "a-digest" not in log


def test_nothing_is_left_when_it_is_stopped(closed: Path, temporary: Path) -> None:
    with running_postgres(closed, settings=FAST) as server:
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
    with running_postgres(closed, settings=FAST) as server:
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
    with running_postgres(closed, settings=FAST) as server:
        assert not processes.is_running(orphan)
        assert query(server.url(), "SELECT 1") == [(1,)]


def test_a_lock_file_whose_number_is_another_process_by_now_does_not_prevent_a_start(closed: Path) -> None:
    with running_postgres(closed, settings=FAST):
        pass
    unrelated = subprocess.Popen(
        ["sleep", "600"], user="nobody" if IS_ROOT else None, cwd="/", start_new_session=True
    )
    try:
        lock = f"{unrelated.pid}\n/nowhere\n1700000000\n5432\n/nowhere\n\n  1 1\nready\n"
        (closed / "postgres" / "postmaster.pid").write_text(lock)
        with running_postgres(closed, settings=FAST) as server:
            assert query(server.url(), "SELECT 1") == [(1,)]
        assert unrelated.poll() is None
    finally:
        unrelated.kill()
        unrelated.wait()


def test_a_first_start_that_was_cut_short_is_made_again(closed: Path) -> None:
    (closed / "postgres.new" / "base").mkdir(parents=True)
    with running_postgres(closed, settings=FAST) as server:
        assert query(server.url(), "SELECT 1") == [(1,)]
    assert not (closed / "postgres.new").exists()


def test_a_failed_start_names_the_reason_and_the_log_and_leaves_nothing(
    closed: Path, temporary: Path
) -> None:
    reason = r"PostgreSQL ended while starting .*max_connections.*logs/postgres\.log"
    with (
        pytest.raises(StartError, match=reason),
        running_postgres(closed, settings={"max_connections": "many"}),
    ):
        pass
    assert processes.none_left([], closed)
    assert not list(temporary.iterdir())
