"""A pytest plugin: the order of a run's tests, and which of its processes runs which.

A file's tests run together, so that its fixtures are made once. The slowest files come first, so that no process is
left with a long one at the end; `tests/durations.json` has their seconds, and `RECORD_DURATIONS=1 make test` writes it.
Files that use the real MLflow run in one process, with one MLflow; so do those that use the PostgreSQL that can be
switched off. Tests marked `alone` come last, in one process, after all others have ended.
"""

import gc
import json
import os
from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

from tests.environment import SHARED_DIR, WORKER, once

TABLE = Path(__file__).with_name("durations.json")
SLOW = 2.0  # seconds; only slower files are in the table
ALONE = "alone"
TOGETHER = {
    "mlflow_server",
    "switch",
}  # fixtures that cost more to make again than another process would save
UNITS = "units"  # what the workers tell the scheduler, which collects no tests: the unit of each test that has one

_seconds: Counter[str] = Counter()


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def unit_of(item: pytest.Item) -> str:
    """Tests of one unit run in one process. A unit is a file, with few exceptions."""
    if item.get_closest_marker(ALONE):
        return ALONE
    return next(iter(TOGETHER.intersection(getattr(item, "fixturenames", ()))), file_of(item.nodeid))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by units and files. The order within a file stays: pytest-django puts transactional tests last."""
    seconds = json.loads(TABLE.read_text())
    units: Counter[str] = Counter()
    for unit, file in {(unit_of(item), file_of(item.nodeid)) for item in items}:
        units[unit] += seconds.get(file, 0)

    def place(item: pytest.Item) -> tuple[Hashable, ...]:
        unit, file = unit_of(item), file_of(item.nodeid)
        return unit == ALONE, -units[unit], unit, -seconds.get(file, 0), file

    items.sort(key=place)


def pytest_collection_finish(session: pytest.Session) -> None:
    gc.freeze()  # what is loaded now stays: the garbage collector need not look through it again and again
    if WORKER:
        once(UNITS, lambda: json.dumps({item.nodeid: unit_of(item) for item in session.items}))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "Scheduler":
    return Scheduler(config, log)


class Scheduler(LoadFileScheduling):
    """Gives each process one unit after the other, in the order of the tests."""

    def schedule(self) -> None:
        self.units = json.loads((SHARED_DIR / f"{UNITS}.txt").read_text())
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        return str(self.units[nodeid])

    def _assign_work_unit(self, node: WorkerController) -> None:
        if next(iter(self.workqueue)) == ALONE:
            self.workqueue.move_to_end(ALONE)  # a process that crashed may have left another unit
        if next(iter(self.workqueue)) != ALONE or self.nodes == [node]:
            super()._assign_work_unit(node)
        elif not all(other.shutting_down for other in self.nodes if other is not node):
            node.shutdown()  # it runs what it has; the last that is left waits for it, below

    def remove_node(self, node: WorkerController) -> str | None:
        crashed = super().remove_node(node)
        if len(self.nodes) == 1:
            self._reschedule(self.nodes[0])
        return crashed


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[file_of(report.nodeid)] += report.duration


def pytest_sessionfinish() -> None:
    if os.environ.get("RECORD_DURATIONS") and not WORKER:
        slow = {file: round(seconds) for file, seconds in _seconds.most_common() if seconds >= SLOW}
        TABLE.write_text(json.dumps(slow, indent=2) + "\n")
