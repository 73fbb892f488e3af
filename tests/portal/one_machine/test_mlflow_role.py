"""MLflow's role in the embedded PostgreSQL: what it may open, and what its statements may take."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from portal.one_machine import mlflow_role
from portal.one_machine.postgres import Postgres, running_postgres
from tests.portal.servers import FAST, query

pytestmark = pytest.mark.postgresql
SMALL = 600 * 2**20  # bytes of address space


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow_role, "BACKEND_ADDRESS_SPACE", SMALL)
        with running_postgres(tmp_path_factory.mktemp("role"), settings=FAST) as running:
            yield running


def test_mlflow_owns_its_database_and_has_limits(server):
    url = server.mlflow_url()

    assert query(url, "CREATE TABLE own (value int)") == []
    assert query(url, "SELECT current_user, current_database()") == [("mlflow", "mlflow")]
    for name, value in {"statement_timeout": "1min", "temp_file_limit": "4GB", "work_mem": "16MB"}.items():
        assert query(url, f"SHOW {name}") == [(value,)]


def test_mlflow_cannot_open_the_portals_database(server):
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(server.mlflow_url().replace("/mlflow?", "/portal?"))


def test_mlflow_is_no_superuser(server):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        query(server.mlflow_url(), "ALTER ROLE mlflow SUPERUSER")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        query(server.mlflow_url(), "SET temp_file_limit = -1")


def test_a_statement_that_takes_too_much_memory_fails_alone(server):
    large = "SELECT length(string_agg(repeat('x', 1000000), '')) FROM generate_series(1, 700)"
    with psycopg.connect(server.url(), autocommit=True) as portal:
        started = portal.execute("SELECT pg_postmaster_start_time()").fetchone()

        with pytest.raises(psycopg.errors.OutOfMemory):
            query(server.mlflow_url(), large)

        assert portal.execute("SELECT pg_postmaster_start_time()").fetchone() == started


def test_tables_that_the_superuser_created_for_mlflow_become_mlflows(tmp_path: Path):
    with running_postgres(tmp_path / "data", settings=FAST) as server:
        query(server.url("mlflow"), "CREATE TABLE before (id serial PRIMARY KEY, value text)")
        query(server.url("mlflow"), "INSERT INTO before (value) VALUES ('kept')")
    with running_postgres(tmp_path / "data", settings=FAST) as server:
        url = server.mlflow_url()
        query(url, "INSERT INTO before (value) VALUES ('new')")
        query(url, "ALTER TABLE before ADD COLUMN more int")

        assert query(url, "SELECT value FROM before ORDER BY id") == [("kept",), ("new",)]
