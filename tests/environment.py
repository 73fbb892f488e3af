"""A pytest plugin, loaded before Django's settings: an embedded PostgreSQL and secrets for this run alone.

The first process of a run starts PostgreSQL. With `--numprocesses` its workers inherit the address and the secrets
by environment variables; each has a folder of its own below the run's.
"""

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker
from pytest_django.plugin import blocking_manager_key

from portal.one_machine.postgres import Postgres, start_postgres
from portal.one_machine.supervisor import Watchdog
from tests.leftovers import keys_left_in

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")  # "" in the first process of a run
SHARED_DIR = Path(os.environ["TESTS_DIR"] if WORKER else tempfile.mkdtemp(prefix="hokusai-tests-"))
RUN_DIR = SHARED_DIR / (WORKER or "first")  # this process's own
WATCHDOG = Watchdog(label="hokusai-tests")
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

RUN_DIR.mkdir(mode=0o700)
_postgres: Postgres | None = None
if not WORKER:
    _postgres = start_postgres(SHARED_DIR, watchdog=WATCHDOG, settings=FAST | {"max_connections": "500"})
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "GUNICORN_")):
            del os.environ[name]
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "TESTS_DIR": str(SHARED_DIR),
        "SECRET_KEY": secrets.token_urlsafe(50),
        "KEY_PEPPERS": secrets.token_urlsafe(32),
        "DATABASE_URL": _postgres.url("portal"),
        "ISOLATION": "off",  # no fake MLflow has workspaces; the real one is tested with them
        "MLFLOW_URL": "http://127.0.0.1:9",  # discard; a test that wants an upstream says which
        "NO_PROXY": "127.0.0.1,localhost",
    }
os.environ["DATA_DIR"] = str(RUN_DIR)

_keys_left: list[str] = []
_searched: set[Path] = set()  # the folders of workers that have ended
_blocker: DjangoDbBlocker


def postgres_url(database: str) -> str:
    """The address of one of the databases of the run's PostgreSQL."""
    return os.environ["DATABASE_URL"].replace("/portal?", f"/{database}?", 1)


def once(name: str, make: Callable[[], str]) -> str:
    """What `make` returned in the first of the run's processes to ask for `name`."""
    with (SHARED_DIR / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = SHARED_DIR / f"{name}.txt"
        if not result.exists():
            result.write_text(make())
        return result.read_text()


def pytest_configure(config: pytest.Config) -> None:
    global _blocker
    _blocker = config.stash[blocking_manager_key]


def database_is_allowed() -> AbstractContextManager[None]:
    """Whatever the test: what it does is meant for a portal's database, not for the tests' own."""
    return _blocker.unblock()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """The run fails if a key is left in a log, a database or any other file of it."""
    if _postgres is not None:
        _postgres.stop()  # which writes everything down
    folders = [RUN_DIR if WORKER else SHARED_DIR, session.config._tmp_path_factory.getbasetemp()]
    _keys_left.extend(left for folder in folders for left in keys_left_in(folder, besides=_searched))
    if WORKER:  # the first process hears of it, and looks through what is not searched yet
        session.config.workeroutput |= {"keys_left": _keys_left, "searched": list(map(str, folders))}
    if _keys_left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_testnodedown(node: Any, error: object) -> None:
    output = getattr(node, "workeroutput", {})  # nothing of one that crashed
    _keys_left.extend(output.get("keys_left", []))
    _searched.update(map(Path, output.get("searched", [])))


def pytest_unconfigure(config: pytest.Config) -> None:
    WATCHDOG.close()
    shutil.rmtree(RUN_DIR if WORKER else SHARED_DIR, ignore_errors=True)


REAL_PARTS = {
    "real PostgreSQL": {
        *("db", "transactional_db", "switch"),
        # Portals, each with a database of its own.
        *("echo_portal", "second_portal", "mlflow_portal", "web_portal", "strict_portal", "https_portal"),
        *("api_portal", "busy", "office", "plain", "replicas", "start_portal"),
    },
    "a real MLflow server": {"mlflow_server", "prefixed"},
    "a real browser": {"browser"},
}
SERVERS = {"echo_server", "mlflow_server", "switch"}  # of these fixtures, all that start a server use one
MARKERS = {"postgresql": "real PostgreSQL", "mlflow": "a real MLflow server", "browser": "a real browser"}


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start a server of their own; for the tests' own PostgreSQL see `postgres_url`."""
    for item in items:
        uses_server = SERVERS.intersection(getattr(item, "fixturenames", ()))
        if uses_server or any(item.get_closest_marker(marker) for marker in MARKERS):
            item.add_marker("server")


def pytest_runtest_setup(item: pytest.Item) -> None:
    fixtures = set(getattr(item, "fixturenames", ()))
    parts = {part for part, names in REAL_PARTS.items() if names & fixtures}
    parts |= {part for marker, part in MARKERS.items() if item.get_closest_marker(marker)}
    item.user_properties.append(("real parts", sorted(parts)))  # reports carry them from process to process


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests ran against real parts; a mock would have been easier to pass."""
    used = [
        parts for report in terminalreporter.stats.get("passed", ()) for _, parts in report.user_properties
    ]
    for part in REAL_PARTS:
        terminalreporter.write_line(f"{sum(part in parts for parts in used)} passed against {part}")
    for left in _keys_left:
        terminalreporter.write_line(f"FAILED: a key was left in {left}")
