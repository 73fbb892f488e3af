import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from portal.one_machine.supervisor import (
    KEPT_LOG_BYTES,
    Child,
    StartError,
    StopRequested,
    Watchdog,
    minimal_environment,
    open_log,
    start,
    wait_until_ready,
)
from tests.portal.processes import is_running, wait_for

# Starts a child of its own, says so, and goes on for ever; deaf to SIGTERM if told so.
FAMILY = """
import signal, subprocess, sys, time
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(grandchild.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    with Watchdog(label="test") as watchdog:
        yield watchdog


def start_family(watchdog: Watchdog, folder: Path, *arguments: str, seconds: float = 5.0) -> Child:
    child = start(
        "the family",
        [sys.executable, "-c", FAMILY, *arguments],
        log=folder / "logs" / "family.log",
        watchdog=watchdog,
        environment=minimal_environment(),
        directory=folder,
        steps=((signal.SIGTERM, seconds),),
    )
    wait_until_ready(child, lambda: child.last_log_line().isdigit(), seconds=20)
    return child


def processes(child: Child) -> list[psutil.Process]:
    return [psutil.Process(child.process.pid), psutil.Process(int(child.last_log_line()))]


def test_stopping_a_child_stops_what_it_started_too(watchdog: Watchdog, tmp_path: Path) -> None:
    child = start_family(watchdog, tmp_path, seconds=0.5)
    family = processes(child)
    child.stop()
    assert not any(is_running(process) for process in family)


def test_a_child_that_ignores_sigterm_is_killed(watchdog: Watchdog, tmp_path: Path) -> None:
    child = start_family(watchdog, tmp_path, "deaf", seconds=0.2)
    family = processes(child)
    child.stop()
    assert child.exit_status() == -signal.SIGKILL
    assert not any(is_running(process) for process in family)


def test_what_a_killed_child_leaves_behind_is_stopped(watchdog: Watchdog, tmp_path: Path) -> None:
    child = start_family(watchdog, tmp_path)
    family = processes(child)
    os.kill(child.process.pid, signal.SIGKILL)
    child.stop()
    assert not any(is_running(process) for process in family)


def test_a_child_has_a_session_of_its_own_so_that_control_c_does_not_reach_it(
    watchdog: Watchdog, tmp_path: Path
) -> None:
    child = start_family(watchdog, tmp_path)
    assert os.getsid(child.process.pid) == child.process.pid != os.getsid(0)
    child.stop()


def test_when_the_parent_is_killed_the_watchdog_stops_the_groups_and_removes_the_paths(
    tmp_path: Path,
) -> None:
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "file").touch()
    code = """
import sys, time
from pathlib import Path
from portal.one_machine.supervisor import Watchdog, minimal_environment, start
folder = Path(sys.argv[1])
watchdog = Watchdog(label=str(folder))
watchdog.remove(folder / "folder")
watchdog.remove(folder / "file")
start("sleep", [sys.executable, "-c", sys.argv[2]], log=folder / "log", watchdog=watchdog,
      environment=minimal_environment(), directory="/", steps=())
print("started", flush=True)
time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), FAMILY],
        stdout=subprocess.PIPE,
        env=minimal_environment() | {"PYTHONPATH": str(Path(__file__).parents[3])},
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"started\n"
        assert wait_for(lambda: (tmp_path / "log").read_text().strip().isdigit())
        family = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
    assert len(family) == 3  # the watchdog, the child, the grandchild
    assert wait_for(lambda: not any(is_running(process) for process in family))
    assert not (tmp_path / "folder").exists()
    assert not (tmp_path / "file").exists()


def test_the_watchdog_leaves_a_group_alone_that_it_was_told_to_forget(tmp_path: Path) -> None:
    with Watchdog() as other, Watchdog() as watchdog:
        child = start_family(other, tmp_path)
        watchdog.stop_group(child.process.pid, ())
        watchdog.forget_group(child.process.pid)
        watchdog.close()
        assert child.exit_status() is None
        child.stop()


def test_a_command_that_cannot_be_started_is_a_start_error(watchdog: Watchdog, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="the nothing cannot be started"):
        start("the nothing", [str(tmp_path / "no")], log=tmp_path / "log", watchdog=watchdog,
              environment={}, directory="/")  # fmt: skip


def test_a_child_that_ends_while_starting_is_reported_with_its_last_words_and_its_log(
    watchdog: Watchdog, tmp_path: Path
) -> None:
    child = start("it", [sys.executable, "-c", "raise SystemExit('no space left')"], log=tmp_path / "log",
                  watchdog=watchdog, environment={}, directory="/")  # fmt: skip
    with pytest.raises(
        StartError, match=r"it ended while starting \(exit status 1\): no space left; see .*/log"
    ):
        wait_until_ready(child, lambda: False, seconds=20)
    child.stop()


def test_a_child_that_takes_too_long_is_reported(watchdog: Watchdog, tmp_path: Path) -> None:
    child = start_family(watchdog, tmp_path, seconds=0.2)
    with pytest.raises(StartError, match="was not ready after 0 seconds"):
        wait_until_ready(child, lambda: False, seconds=0.1)
    child.stop()


def test_a_stop_that_is_asked_for_ends_the_waiting(watchdog: Watchdog, tmp_path: Path) -> None:
    child = start_family(watchdog, tmp_path, seconds=0.2)
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(StopRequested):
        wait_until_ready(child, lambda: False, seconds=20, stopping=stopping)
    child.stop()


def test_the_minimal_environment_has_nothing_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "SECRET_KEY",
        "KEY_PEPPERS",
        "DATABASE_URL",
        "MLFLOW_TRACKING_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
    ):
        monkeypatch.setenv(name, "a secret")
    assert "a secret" not in minimal_environment().values()


def test_a_log_is_readable_by_its_owner_alone_and_put_aside_when_it_is_large(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "some.log"
    open_log(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    with path.open("wb") as file:
        file.truncate(KEPT_LOG_BYTES + 1)
    open_log(path).close()
    assert path.stat().st_size == 0
    assert path.with_name("some.log.1").stat().st_size == KEPT_LOG_BYTES + 1
