import secrets
from collections.abc import Iterator

import pytest

from keys import actions
from keys.models import ApiKey, User
from proxy.usage.writer import Writer
from tests.proxy.logs import a_connection, a_writer
from tests.proxy.worlds import World


@pytest.fixture
def key(db) -> ApiKey:
    """Alice's."""
    return actions.issue(owner=User.objects.create_user("alice"), name="training")[0]


@pytest.fixture
def world(mlflow_server, settings) -> World:
    settings.MLFLOW_URL, settings.MLFLOW_TEST_URL = mlflow_server.url, ""
    settings.ISOLATION = "required"
    key, _ = actions.issue(owner=User.objects.create_user("alice"), name="training")
    return World(mlflow_server.url, key, f"reconcile-{secrets.token_hex(4)}")


@pytest.fixture
def writer(tmp_path, monkeypatch) -> Iterator[Writer]:
    """Takes calls over into the tests' own database, from a spool of this test alone."""
    with a_writer(tmp_path / "spool", monkeypatch) as ready:
        yield ready
    with a_connection() as database:
        database.execute("truncate proxy_call")
