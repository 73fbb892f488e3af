"""A pytest plugin, loaded before Django's settings: an embedded PostgreSQL and secrets for this run alone."""

import os
import secrets
import shutil
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker
from pytest_django.plugin import blocking_manager_key

RUN_DIR = Path(tempfile.mkdtemp(prefix="hokusai-tests-"))


def settings_from_environment() -> None:
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "GUNICORN_")):
            del os.environ[name]
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "DATA_DIR": str(RUN_DIR),
        "SECRET_KEY": secrets.token_urlsafe(50),
        "KEY_PEPPERS": secrets.token_urlsafe(32),
        "MLFLOW_URL": "http://127.0.0.1:9",  # discard; a test that wants an upstream says which
        "NO_PROXY": "127.0.0.1,localhost",
    }


settings_from_environment()

from portal.one_machine.postgres import Postgres, start_postgres  # noqa: E402
from portal.one_machine.supervisor import Watchdog  # noqa: E402
from tests.leftovers import keys_left_in  # noqa: E402

WATCHDOG = Watchdog(label="hokusai-tests")
POSTGRES: Postgres = start_postgres(
    RUN_DIR,
    watchdog=WATCHDOG,
    settings={"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"},
)
os.environ["DATABASE_URL"] = POSTGRES.url("portal")


_keys_left: list[str] = []
_blocker: DjangoDbBlocker


def pytest_configure(config: pytest.Config) -> None:
    global _blocker
    _blocker = config.stash[blocking_manager_key]


def database_is_allowed() -> AbstractContextManager[None]:
    """Whatever the test: what it does is meant for a portal's database, not for the tests' own."""
    return _blocker.unblock()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """The run fails if a key is left in a log, a database or any other file of it."""
    POSTGRES.stop()  # which writes everything down
    _keys_left.extend(keys_left_in(RUN_DIR))
    _keys_left.extend(keys_left_in(session.config._tmp_path_factory.getbasetemp()))
    if hasattr(session.config, "workeroutput"):  # one of the run's processes, which tells the first
        session.config.workeroutput["keys_left"] = _keys_left
    if _keys_left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_testnodedown(node: Any, error: object) -> None:
    _keys_left.extend(getattr(node, "workeroutput", {}).get("keys_left", []))


def pytest_unconfigure(config: pytest.Config) -> None:
    WATCHDOG.close()
    shutil.rmtree(RUN_DIR, ignore_errors=True)


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
MARKERS = {"postgresql": "real PostgreSQL", "mlflow": "a real MLflow server", "browser": "a real browser"}


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
