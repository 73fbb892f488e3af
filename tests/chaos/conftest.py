import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.chaos.callers import RUN, Switch
from tests.environment import RUN_DIR, WATCHDOG
from tests.portals import ROOT, Portal, portal


@pytest.fixture(scope="session")
def switch() -> Iterator[Switch]:
    folder = RUN_DIR / "switch"
    folder.mkdir(mode=0o700)
    server = Switch(folder, WATCHDOG)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def start_portal(switch, echo) -> Iterator[Callable[..., Portal]]:
    """Starts a portal on the PostgreSQL that can be switched off; its log empty, one run owned by alice."""
    with ExitStack() as stack:

        def start(**settings: str) -> Portal:
            return stack.enter_context(
                portal(mlflow_url=echo.url, database="portal", DATABASE_URL=switch.url, **settings)
            )

        yield start


@pytest.fixture
def alice(switch, echo) -> str:
    """The key of someone who owns RUN."""
    environment = {**os.environ, "DATABASE_URL": switch.url, "MLFLOW_URL": echo.url}
    manage = [sys.executable, str(ROOT / "manage.py")]

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [*manage, *arguments], env=environment, cwd=ROOT, check=True, capture_output=True, timeout=60
        )
        return done.stdout.decode()

    run("migrate", "--verbosity", "0")
    issued = json.loads(run("issue_key", "--user", "alice", "--name", "chaos", "--json"))
    [(key_id, user_id)] = switch.rows(
        "select k.id, k.owner_id from keys_apikey k where public_id = %s", issued["id"]
    )
    switch.rows(
        "insert into proxy_owner (environment, kind, name, user_id, key_id, created_at, is_shared, is_reserved) "
        "values ('live', 'run', %s, %s, %s, now(), false, false) on conflict (environment, kind, name) "
        "do update set user_id = excluded.user_id returning id",
        RUN,
        user_id,
        key_id,
    )
    return str(issued["key"])
