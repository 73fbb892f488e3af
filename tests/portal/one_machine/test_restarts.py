"""A part that ends is started again, ever more slowly while it does not last."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.one_machine.restarts import Restarts
from portal.one_machine.supervisor import Child, Watchdog, minimal_environment, start
from tests.portal.processes import wait_for


class Part:
    """Real processes, and a clock that is moved by hand."""

    def __init__(self, watchdog: Watchdog, folder: Path) -> None:
        self.watchdog, self.folder = watchdog, folder
        self.now = 0.0
        self.starts = 0
        self.start("import time; time.sleep(600)")
        self.restarts = Restarts(
            "the part",
            current=lambda: self.child,
            restart=lambda: self.start("raise SystemExit(3)"),
            clock=lambda: self.now,
        )

    def start(self, program: str) -> None:
        self.starts += 1
        self.child: Child = start(
            "the part",
            [sys.executable, "-S", "-c", program],
            log=self.folder / "part.log",
            watchdog=self.watchdog,
            environment=minimal_environment(),
            directory=self.folder,
        )

    def end(self) -> None:
        """Wait until it has ended, and have that noticed."""
        assert wait_for(lambda: self.child.exit_status() is not None)
        self.restarts.check()

    def seconds_until_started(self) -> int:
        before, starts = self.now, self.starts
        while self.starts == starts:
            self.now += 1
            self.restarts.check()
        return int(self.now - before)


@pytest.fixture
def part(tmp_path: Path) -> Iterator[Part]:
    with Watchdog(label="test") as watchdog:
        made = Part(watchdog, tmp_path)
        yield made
        made.child.stop()


def test_a_part_that_runs_is_left_alone(part: Part) -> None:
    part.now = 1000.0
    part.restarts.check()

    assert part.starts == 1


def test_a_part_that_ends_again_and_again_is_started_ever_more_slowly(
    part: Part, capsys: pytest.CaptureFixture[str]
) -> None:
    part.child.process.kill()
    waits = []
    for _ in range(8):
        part.end()
        waits.append(part.seconds_until_started())

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert "the part ended; it is restarted in 4 s. See " in capsys.readouterr().out


def test_a_part_that_ran_for_more_than_a_minute_is_started_quickly_again(part: Part) -> None:
    part.child.process.kill()
    for _ in range(3):
        part.end()
        part.seconds_until_started()
    part.now += 61
    part.end()

    assert part.seconds_until_started() == 1
