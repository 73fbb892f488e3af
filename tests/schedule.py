"""A pytest plugin: the order of a run's tests, and which of its processes runs which.

A file's tests run together, so that its fixtures are made once. The slowest files come first, so that no process is
left with a long one at the end; `tests/durations.json` has their seconds, and `RECORD_DURATIONS=1 make test` writes it
(pytest-xdist would put the files with the most tests first: `--no-loadscope-reorder` in pyproject.toml ends that).
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
COLLECTED_AFTER = (
    100_000,
    20,
    50,
)  # objects, and generations; Python's 700 objects make it collect all the time
SLOW = 2.0  # seconds; only slower units are in the table
ALONE = "alone"
TOGETHER = {
    "mlflow_server",
    "switch",
}  # fixtures that cost more to make again than another process would save
UNITS = "units"  # what the workers tell the scheduler, which collects no tests: the unit of each test that has one

_seconds: Counter[str] = Counter()  # of each test
_units: dict[str, str] = {}  # the unit of each test, in the process that gives out the units


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

    def place(item: pytest.Item) -> tuple[Hashable, ...]:
        unit = unit_of(item)
        return unit == ALONE, -seconds.get(unit, 0), unit, file_of(item.nodeid)

    items.sort(key=place)


@pytest.hookimpl(tryfirst=True)  # before xdist's own, which tells the scheduler that it may begin
def pytest_collection_finish(session: pytest.Session) -> None:
    gc.freeze()  # what is loaded now stays: the garbage collector need not look through it again and again
    gc.set_threshold(*COLLECTED_AFTER)
    if WORKER:
        once(UNITS, lambda: json.dumps({item.nodeid: unit_of(item) for item in session.items}))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "Scheduler":
    return Scheduler(config, log)


class Scheduler(LoadFileScheduling):
    """Gives each process one unit after the other, in the order of the tests."""

    def schedule(self) -> None:
        _units.update(json.loads((SHARED_DIR / f"{UNITS}.txt").read_text()))
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        return _units[nodeid]

    def _assign_work_unit(self, node: WorkerController) -> None:
        if next(iter(self.workqueue)) == ALONE:
            self.workqueue.move_to_end(ALONE)  # a process that crashed may have left another unit
        if next(iter(self.workqueue)) != ALONE or self.nodes == [node]:
            super()._assign_work_unit(node)
        elif node is not self._last_node() and not all(
            other.shutting_down for other in self.nodes if other is not node
        ):
            node.shutdown()  # it runs what it has; the last that is left waits for it, below

    def _last_node(self) -> WorkerController | None:
        """The process that shall run what runs alone: the one that has an MLflow, which some of that needs."""
        return next((node for node in self.nodes if "mlflow_server" in self.assigned_work[node]), None)

    def remove_node(self, node: WorkerController) -> str | None:
        crashed = super().remove_node(node)
        if len(self.nodes) == 1:
            self._reschedule(self.nodes[0])
        return crashed


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[report.nodeid] += report.duration


def pytest_sessionfinish() -> None:
    if os.environ.get("RECORD_DURATIONS") and not WORKER:
        seconds: Counter[str] = Counter()
        for nodeid, spent in _seconds.items():
            seconds[_units.get(nodeid, file_of(nodeid))] += spent
        slow = {unit: round(spent) for unit, spent in seconds.most_common() if spent >= SLOW}
        TABLE.write_text(json.dumps(slow, indent=2) + "\n")
