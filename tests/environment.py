"""A pytest plugin, loaded before Django's settings: an embedded PostgreSQL and secrets for this run alone."""

import os
import secrets
import shutil
import tempfile
from pathlib import Path

import pytest

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

from portal.embedded import Postgres, start_postgres  # noqa: E402
from portal.supervisor import Watchdog  # noqa: E402

WATCHDOG = Watchdog(label="hokusai-tests")
POSTGRES: Postgres = start_postgres(
    RUN_DIR,
    watchdog=WATCHDOG,
    settings={"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"},
)
os.environ["DATABASE_URL"] = POSTGRES.url("portal")


def pytest_unconfigure(config: pytest.Config) -> None:
    POSTGRES.stop()
    WATCHDOG.close()
    shutil.rmtree(RUN_DIR, ignore_errors=True)
