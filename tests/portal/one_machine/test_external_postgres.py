from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from portal.one_machine.external_postgres import second_database, server_version, without_password
from portal.one_machine.mlflow import mlflow_backend
from portal.one_machine.postgres import running_postgres
from portal.one_machine.supervisor import StartError
from tests.portal.one_machine.running import NOWHERE, get, up
from tests.portal.servers import FAST, query

pytestmark = pytest.mark.postgresql


def test_mlflow_gets_a_database_beside_the_portals(closed: Path) -> None:
    with running_postgres(closed, settings=FAST) as server:
        address = second_database(server.url("portal"))
        assert second_database(server.url("portal")) == address  # made once
        assert query(address, "SELECT current_database()") == [("portal_mlflow",)]
        with create_engine(mlflow_backend(address), poolclass=NullPool).connect() as connection:
            assert connection.exec_driver_sql("SELECT current_database()").scalar() == "portal_mlflow"


def test_a_database_that_may_not_be_made_is_one_clear_line(closed: Path) -> None:
    with running_postgres(closed, settings=FAST) as server:
        query(server.url(), "CREATE ROLE limited LOGIN; GRANT CONNECT ON DATABASE portal TO limited")
        limited = server.url().replace("postgres@", "limited@")
        with pytest.raises(StartError, match=r"portal_mlflow, which cannot be created .* set MLFLOW_URL"):
            second_database(limited)
        assert server_version(limited) == server.version


def test_a_postgresql_that_does_not_answer_is_one_clear_line_without_the_password() -> None:
    with pytest.raises(StartError, match="DATABASE_URL: connection") as caught:
        server_version("postgresql://portal:hunter2@127.0.0.1:9/portal")
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("postgresql://me:secret@db:5433/portal", "postgresql://me@/portal?host=db&port=5433"),
        ("postgresql://me@db/portal?sslmode=require", "postgresql://me@/portal?host=db&sslmode=require"),
        ("host=db dbname=portal user=me password=s%40", "postgresql://me@/portal?host=db"),
    ],
)
def test_an_address_is_shown_without_its_password(address: str, expected: str) -> None:
    assert without_password(address) == expected


def test_a_postgresql_of_the_operators_own_is_used_and_its_password_is_not_written_down(
    tmp_path: Path,
) -> None:
    with running_postgres(tmp_path / "theirs", settings={"fsync": "off"}) as theirs:
        address = theirs.url("portal").replace("postgres@", "postgres:not-needed@")
        with up(tmp_path / "ours", DATABASE_URL=address, MLFLOW_URL=NOWHERE) as running:
            assert not (tmp_path / "ours" / "postgres").exists()
            assert "not-needed" not in (tmp_path / "ours" / "portal.json").read_text()
            assert get(f"{running.url}/health/ready")[0] == 200
