import secrets

import pytest

from keys import actions
from keys.models import ApiKey, User
from tests.proxy.worlds import World


@pytest.fixture
def key(db) -> ApiKey:
    """Alice's."""
    return actions.issue(owner=User.objects.create_user("alice"), name="training")[0]


@pytest.fixture
def world(mlflow_server, settings) -> World:
    settings.MLFLOW_URL, settings.MLFLOW_TEST_URL = mlflow_server.url, ""
    key, _ = actions.issue(owner=User.objects.create_user("alice"), name="training")
    return World(mlflow_server.url, key, f"reconcile-{secrets.token_hex(4)}")
