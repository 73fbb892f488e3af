import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.chaos.callers import RUN, Switch
from tests.environment import RUN_DIR, WATCHDOG
from tests.portals import Portal, manage, portal


@pytest.fixture(scope="session")
def switch() -> Iterator[Switch]:
    folder = RUN_DIR / "switch"
    folder.mkdir(mode=0o700)
    server = Switch(folder, WATCHDOG)
    server.start()
    manage_on(server, "migrate", "--verbosity", "0")
    yield server
    server.stop()


def manage_on(switch: Switch, *arguments: str) -> str:
    """What the command prints."""
    done = manage({**os.environ, "DATABASE_URL": switch.url}, *arguments)
    assert not done.returncode, done.stderr
    return done.stdout


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
def alice(switch) -> str:
    """The key of someone who owns RUN."""
    issued = json.loads(manage_on(switch, "issue_key", "--user", "alice", "--name", "chaos", "--json"))
    [(key_id, user_id)] = switch.rows(
        "select k.id, k.owner_id from keys_apikey k where public_id = %s", issued["id"]
    )
    switch.rows(
        "insert into proxy_owner (environment, kind, name, user_id, key_id, created_at, is_shared, is_reserved) "
        "values ('live', 'run', %s, %s, %s, now(), false, false) "
        "on conflict (environment, organisation_id, kind, name) "
        "do update set user_id = excluded.user_id returning id",
        RUN,
        user_id,
        key_id,
    )
    return str(issued["key"])
