import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from portal.one_machine.mlflow import Mlflow, running_mlflow, start_mlflow
from portal.one_machine.postgres import Postgres, running_postgres
from portal.one_machine.supervisor import POLL_SECONDS, StartError, Watchdog
from tests.portal import processes
from tests.portal.servers import FAST, hold, query, told_by

pytestmark = pytest.mark.postgresql


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mlflow, Postgres]]:
    """MLflow as `make run` starts it, from a process with secrets in its environment."""
    data = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SECRET_KEY", "KEY_PEPPERS", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "a-secret-of-the-portal")
        patch.setenv("MLFLOW_SERVER_ALLOWED_HOSTS", "a-setting-of-mlflow")
        with (
            running_postgres(data, settings=FAST) as postgres,
            running_mlflow(data, database_url=postgres.mlflow_url()) as server,
        ):
            yield server, postgres


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.load(answer)


@pytest.mark.mlflow
def test_mlflow_keeps_its_tables_in_its_own_database(
    mlflow: tuple[Mlflow, Postgres],
) -> None:
    _, postgres = mlflow
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert query(postgres.url("mlflow"), tables)[0][0] > 20
    assert query(postgres.url("portal"), tables) == [(0,)]


@pytest.mark.mlflow
def test_clients_are_told_to_send_artifacts_to_the_server(
    mlflow: tuple[Mlflow, Postgres],
) -> None:
    server, _ = mlflow
    experiment = get(f"{server.url}/api/2.0/mlflow/experiments/get?experiment_id=0")["experiment"]
    assert experiment["artifact_location"].startswith("mlflow-artifacts:/")


@pytest.mark.mlflow
def test_mlflow_inherits_no_secret_and_no_setting(mlflow: tuple[Mlflow, Postgres]) -> None:
    server, _ = mlflow
    family = processes.with_descendants(server.child.process.pid)
    assert len(family) == 1  # `mlflow server` alone would start a second process, which loads MLflow again
    for process in family:
        values = set(process.environ().values())
        assert not values & {"a-secret-of-the-portal", "a-setting-of-mlflow"}
        assert os.getpgid(process.pid) == server.child.process.pid
        assert not any("postgresql" in word for word in process.cmdline())


@pytest.mark.mlflow
def test_mlflow_listens_on_loopback_alone(mlflow: tuple[Mlflow, Postgres]) -> None:
    server, _ = mlflow
    listening = {
        connection.laddr.ip
        for process in processes.with_descendants(server.child.process.pid)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


@pytest.mark.mlflow
def test_jobs_gateway_and_telemetry_are_off(mlflow: tuple[Mlflow, Postgres]) -> None:
    server, _ = mlflow
    environment = psutil.Process(server.child.process.pid).environ()
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(f"{server.url}/api/3.0/mlflow/gateway/endpoints/list")
    with caught.value as answer:
        assert answer.code >= 400
        assert b"AI Gateway feature is disabled" in answer.read()


@pytest.mark.mlflow
def test_killing_the_parent_stops_mlflow_and_its_workers(tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from portal.one_machine.mlflow import start_mlflow
from portal.one_machine.postgres import start_postgres
from portal.one_machine.supervisor import Watchdog
data, watchdog = Path(sys.argv[1]), Watchdog(label=sys.argv[1])
postgres = start_postgres(data, watchdog=watchdog, settings={FAST!r})
server = start_mlflow(data, database_url=postgres.mlflow_url(), watchdog=watchdog)
server.wait_until_ready()
print('{{"ready": true}}', flush=True)
time.sleep(600)
"""
    with hold(tmp_path, code=code) as parent:
        assert told_by(parent) == {"ready": True}
        family = processes.with_descendants(parent.pid)
        parent.kill()
    assert processes.none_left(family, tmp_path)


def test_an_mlflow_that_cannot_start_is_reported_with_its_log(tmp_path: Path) -> None:
    with Watchdog(label=str(tmp_path)) as watchdog:
        server = start_mlflow(tmp_path, database_url="postgresql://127.0.0.1:9/nothing", watchdog=watchdog)
        try:
            with pytest.raises(StartError, match=r"MLflow .*logs/mlflow\.log"):
                server.wait_until_ready(seconds=8 * POLL_SECONDS)
        finally:
            server.stop()
    assert processes.none_left([], tmp_path)
