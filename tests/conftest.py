import json
import os
import urllib.request
from collections.abc import Iterator

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db import connection
from django.db.backends.postgresql.operations import DatabaseOperations
from django.test import Client
from whitenoise.middleware import WhiteNoiseMiddleware

from keys import page_slots
from keys.models import User
from portal.one_machine.mlflow import Mlflow, start_mlflow
from proxy.upstream.client import breaker
from tests.echo import EchoServer
from tests.environment import RUN_DIR, WATCHDOG, postgres_url
from tests.keys.people import make_cast, signed_in
from tests.portals import Portal, create_database, drop_database, migrated_database, portal
from tests.time_stamp_authority import Authority, serve


@pytest.fixture
def cast(db) -> dict[str, User]:
    """Users by name, from those who may do everything to one who may do nothing."""
    return make_cast()


@pytest.fixture
def alice(cast) -> Client:
    """The superuser's browser."""
    return signed_in(cast["alice"])


@pytest.fixture
def bob(cast) -> Client:
    return signed_in(cast["bob"])


@pytest.fixture(scope="session")
def echo_server():
    server = EchoServer()
    yield server
    server.stop()


@pytest.fixture
def echo(echo_server):
    """MLflow's stand-in, fresh for each test, and for tests that use the server as it is."""
    echo_server.reset()
    yield echo_server
    echo_server.reset()


@pytest.fixture(scope="session")
def echo_portal(echo_server) -> Portal:
    """A portal in front of the echo server."""
    with portal(mlflow_url=echo_server.url) as running:
        yield running


@pytest.fixture(scope="session")
def echo_key(echo_portal) -> dict:
    return echo_portal.issue("alice", "--any-owner", "--preset", "full")


@pytest.fixture(scope="session")
def other_echo_server():
    server = EchoServer()
    yield server
    server.stop()


@pytest.fixture
def other_echo(other_echo_server):
    other_echo_server.reset()
    return other_echo_server


@pytest.fixture(scope="session")
def second_portal(echo_server, other_echo_server) -> Portal:
    """A portal with the settings that the first does not have: behind a proxy, with a test registry."""
    settings = {
        "MLFLOW_TEST_URL": other_echo_server.url,
        "MLFLOW_HOST_HEADER": "mlflow.internal",
        "MLFLOW_AUTHORIZATION": "Bearer upstream-credential",
        "TRUSTED_PROXIES": "1",
        "MAX_JSON_BODY": "2000",
        "MAX_ARTIFACT_BODY": "100000",
    }
    with portal(mlflow_url=echo_server.url, **settings) as running:
        yield running


@pytest.fixture(scope="session")
def second_key(second_portal) -> dict:
    return second_portal.issue("alice", "--any-owner", "--preset", "full")


def create_workspace(url: str) -> None:
    """The workspace of users without an organisation, as a portal creates it with its first call."""
    body = json.dumps({"name": "shared"}).encode()
    request = urllib.request.Request(
        f"{url}/api/3.0/mlflow/workspaces", body, {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=30).close()


@pytest.fixture(scope="session")
def mlflow_server() -> Mlflow:
    """A real MLflow, as `make run` starts it; or the one at FIELD_MLFLOW, of another release or with another store."""
    if url := os.environ.get("FIELD_MLFLOW"):
        create_workspace(url)
        yield Mlflow(child=None, url=url)  # its program stops it
        return
    server = start_mlflow(RUN_DIR, database_url=postgres_url(create_database()), watchdog=WATCHDOG)
    try:
        server.wait_until_ready()
        create_workspace(server.url)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def mlflow_portal(mlflow_server) -> Portal:
    """A portal in front of the real MLflow."""
    with portal(mlflow_url=mlflow_server.url, ISOLATION="required") as running:
        yield running


@pytest.fixture(scope="session")
def time_stamp_authority(tmp_path_factory) -> Iterator[Authority]:
    with serve(Authority(tmp_path_factory.mktemp("tsa"))) as running:
        yield running


@pytest.fixture
def tsa(time_stamp_authority, settings) -> Authority:
    """The authority of the settings, fresh for each test."""
    settings.TIMESTAMP_URL = time_stamp_authority.url
    settings.TIMESTAMP_CERTIFICATES = str(time_stamp_authority.root)
    time_stamp_authority.answer, time_stamp_authority.asked = None, 0
    return time_stamp_authority


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment, django_db_blocker) -> Iterator[None]:
    """The tests' own database: pytest-django would migrate one for each process of a run."""
    with django_db_blocker.unblock():
        name = create_database(migrated_database())
        connection.close_pool()
    connection.settings_dict["NAME"] = name
    yield
    with django_db_blocker.unblock():
        connection.close()
        connection.close_pool()
    drop_database(name)


@pytest.fixture(autouse=True, scope="session")
def _flush_is_allowed():
    """Django's tests empty all tables with TRUNCATE, which a key's history does not let pass."""
    with pytest.MonkeyPatch.context() as patch:
        plain = DatabaseOperations.sql_flush

        def sql_flush(self, *arguments, **options):
            statements = plain(self, *arguments, **options)
            return ["SET LOCAL session_replication_role = replica", *statements] if statements else []

        patch.setattr(DatabaseOperations, "sql_flush", sql_flush)
        yield


@pytest.fixture(autouse=True, scope="session")
def _static_files_are_looked_for_once():
    """Each of Django's test clients loads the middleware anew, and WhiteNoise would open each static file again."""
    files: dict[str, object] = {}
    plain = WhiteNoiseMiddleware.add_files_from_finders

    def add_files_from_finders(self):
        if not files:
            plain(self)
            files.update(self.files)
        self.files.update(files)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WhiteNoiseMiddleware, "add_files_from_finders", add_files_from_finders)
        yield


@pytest.fixture(autouse=True, scope="session")
def _passwords_are_hashed_quickly():
    """In this process; the portals that tests start hash as they do in production."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PBKDF2PasswordHasher, "iterations", 1)
        yield


@pytest.fixture(autouse=True)
def _no_key_is_remembered(monkeypatch):
    """In this process nobody listens for changes, so that each look-up asks PostgreSQL."""
    monkeypatch.setattr("keys.credentials.cache.UNHEARD_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def _no_breaker_is_open():
    """Tests call an MLflow that is not there. The next test is told so as well, and not that the breaker is open."""
    yield
    breaker(os.environ["MLFLOW_URL"]).succeed()


@pytest.fixture(autouse=True)
def _no_slot_is_held():
    """Django's test client leaves a response open that a test does not read to its end; a server never does."""
    yield
    for slots in (page_slots.pages, page_slots.exports):
        slots.held.clear()
