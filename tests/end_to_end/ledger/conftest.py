"""Alice and bob, each with a key of this test alone, and the rows of the ledger."""

import secrets

import pytest
from mlflow.exceptions import MlflowException

from tests.end_to_end.conftest import Person
from tests.experiments import new_experiment
from tests.portals import Portal


class Registrant(Person):
    """A user with a key who registers models."""

    def register(self, name: str, tags: dict[str, str] | None = None) -> str:
        """A version of a model of that name, made if there is none, from a run of one's own."""
        client = self.client
        run = client.create_run(new_experiment(client)).info.run_id
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            assert error.error_code == "RESOURCE_ALREADY_EXISTS"
        return client.create_model_version(name, f"runs:/{run}/model", run_id=run, tags=tags).version


@pytest.fixture
def alice(mlflow_portal, monkeypatch) -> Registrant:
    return Registrant(mlflow_portal, mlflow_portal.issue("alice", "--preset", "full"), monkeypatch)


@pytest.fixture
def bob(mlflow_portal, monkeypatch) -> Registrant:
    return Registrant(mlflow_portal, mlflow_portal.issue("bob", "--preset", "full"), monkeypatch)


@pytest.fixture
def name() -> str:
    return f"ledger-{secrets.token_hex(4)}"


def rows(portal: Portal, *keys: dict) -> list[dict]:
    """What these keys did, in order."""
    return portal.rows(
        "select r.*, u.username, k.public_id from proxy_registration r join keys_user u on u.id = r.user_id "
        "join keys_apikey k on k.id = r.key_id where k.public_id = any(%s) order by r.id",
        [key["id"] for key in keys],
    )
