import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from portal.one_machine.ports import free_port
from portal.one_machine.supervisor import minimal_environment
from tests.echo import Script
from tests.environment import SHARED_DIR
from tests.portal import processes
from tests.portal.one_machine.running import NOWHERE, REPOSITORY, Up, get, issue, refused, sign_in, up
from tests.portals import parsed
from tests.proxy.forwarding.test_forwarding import UPLOAD, request

KEPT = SHARED_DIR / "first-run"

pytestmark = [pytest.mark.postgresql, pytest.mark.mlflow]


# --- the life of one portal: first run, killed, started again ----------------------------------------------


@dataclass
class FirstRun:
    """What was seen of a first run that Ctrl-C ended."""

    up: Up
    status: int
    files: dict[str, str]
    portal_json: dict[str, Any]
    portal_json_mode: int
    tracking: tuple[int, str]
    signed_in_at: str

    @property
    def password(self) -> str:
        return re.findall(r"admin's password +(\S+)", self.up.output)[0]

    @property
    def key(self) -> str:
        return re.findall(r"hk_live_\w+", self.up.output)[0]


def keep(data: Path, key: str) -> None:
    """Copy the data folder for the test that runs alone, perhaps in another process."""
    shutil.rmtree(KEPT, ignore_errors=True)
    subprocess.run(["cp", "-a", str(data), str(KEPT)], check=True)
    (KEPT / "key").write_text(key[::-1])  # backwards, because no file of the tests may hold a key


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> FirstRun:
    data = tmp_path_factory.mktemp("up") / "new" / "data"
    with up(data) as running:
        key = re.findall(r"hk_live_\w+", running.output)[0]
        path = data / "portal.json"
        written, mode = json.loads(path.read_text()), path.stat().st_mode & 0o777
        tracking = get(f"{running.url}/api/mlflow/api/2.0/mlflow/experiments/get-by-name"
                       "?experiment_name=first-experiment", key)  # fmt: skip
        signed_in_at = sign_in(running.url, re.findall(r"admin's password +(\S+)", running.output)[0])
        status = running.end(signal.SIGINT)
    files = {
        str(path.relative_to(data)): path.read_text(errors="replace")
        for path in data.rglob("*")
        if path.is_file() and path.parts[len(data.parts)] != "postgres"
    }
    keep(data, key)
    return FirstRun(running, status, files, written, mode, tracking, signed_in_at)


def test_a_first_run_makes_an_admin_and_a_key_and_shows_each_once(first_run: FirstRun) -> None:
    assert first_run.up.output.count(first_run.password) == 1
    assert first_run.up.output.count(first_run.key) == 1
    assert len(first_run.password) >= 20


def test_a_first_run_does_a_real_round_trip_with_the_stock_client(first_run: FirstRun) -> None:
    for step in ("experiment", "run", "metric", "artifact", "registered model", "model version 1"):
        assert f"  ok  round trip: {step}" in first_run.up.output
    assert json.loads(first_run.files["first-run.json"]) == {"round_trip": "passed"}
    status, body = first_run.tracking
    assert status == 200
    assert "first-experiment" in body


def test_a_first_run_says_what_to_open_and_what_a_client_sets(first_run: FirstRun) -> None:
    for text in (f"{first_run.up.url}/admin/", "MLFLOW_TRACKING_URI=", "MLFLOW_TRACKING_TOKEN="):
        assert text in first_run.up.output


def test_the_admin_can_sign_in_with_the_password_shown(first_run: FirstRun) -> None:
    assert first_run.signed_in_at == "/admin/"


def test_no_file_holds_the_password_or_the_key(first_run: FirstRun) -> None:
    assert "logs/portal.log" in first_run.files
    for name, content in first_run.files.items():
        assert first_run.password not in content, name
        assert first_run.key not in content, name


def test_portal_json_says_where_everything_is_to_its_owner_alone(first_run: FirstRun) -> None:
    assert first_run.portal_json_mode == 0o600
    addresses = {"url", "public_url", "database_url", "mlflow_url", "mlflow_database_url"}
    assert first_run.portal_json.keys() == {*addresses, "pid"}
    assert first_run.portal_json["url"] == first_run.up.url
    assert first_run.portal_json["pid"] == first_run.up.process.pid


def test_the_secrets_are_made_once_and_readable_by_their_owner_alone(first_run: FirstRun) -> None:
    assert (first_run.up.data / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert json.loads(first_run.files["secrets.json"]).keys() == {"SECRET_KEY", "KEY_PEPPERS"}


def test_control_c_stops_everything_with_status_0(first_run: FirstRun) -> None:
    assert first_run.status == 0
    assert first_run.up.output.endswith("stopped (SIGINT)\n")
    assert len(first_run.up.family) > 8
    assert first_run.up.leaves_nothing()


@pytest.fixture(scope="module")
def second_run(first_run: FirstRun) -> Iterator[Up]:
    """The same data again; tests look at it while it runs, and the last kills it."""
    with up(first_run.up.data) as running:
        yield running


@pytest.fixture
def kept(request: pytest.FixtureRequest) -> Path:
    """The folder of a first run, which was killed later if all tests of this file ran: this one comes last."""
    if not KEPT.exists():
        request.getfixturevalue("first_run")
    return KEPT


@pytest.mark.alone
def test_a_second_start_takes_less_than_15_seconds_and_keeps_everything(kept: Path) -> None:
    secrets, key = (kept / "secrets.json").read_text(), (kept / "key").read_text()[::-1]
    name = "experiments/get-by-name?experiment_name=first-experiment"
    with up(kept) as second_run:
        assert get(f"{second_run.url}/api/mlflow/api/2.0/mlflow/{name}", key)[0] == 200
        assert second_run.end(signal.SIGTERM) == 0

    assert second_run.leaves_nothing()
    assert second_run.seconds < 15
    assert "password" not in second_run.output
    assert "round trip" not in second_run.output
    assert (kept / "secrets.json").read_text() == secrets


def test_a_second_instance_on_the_same_folder_is_told_who_has_it(second_run: Up) -> None:
    line = refused(second_run.data)
    assert second_run.url in line
    assert str(second_run.process.pid) in line
    assert get(f"{second_run.url}/health/ready")[0] == 200


def test_manage_py_alone_works_beside_it(second_run: Up) -> None:
    key = issue(second_run)
    search = f"{second_run.url}/api/mlflow/api/2.0/mlflow/registered-models/search"
    assert get(search, key)[0] == 200


def test_an_mlflow_that_dies_is_started_again_while_the_portal_goes_on(second_run: Up) -> None:
    mlflow = second_run.child("mlflow_server.py")
    mlflow.kill()
    assert processes.wait_for(lambda: get(f"{second_run.url}/health/mlflow")[0] == 503)
    assert get(f"{second_run.url}/health/ready")[0] == 200
    assert processes.wait_for(lambda: get(f"{second_run.url}/health/mlflow")[0] == 200)
    second_run.family = processes.with_descendants(second_run.process.pid)
    assert second_run.child("mlflow_server.py").pid != mlflow.pid


def test_an_outbox_that_dies_is_started_again_while_the_portal_goes_on(second_run: Up) -> None:
    def outboxes() -> set[int]:
        family = processes.with_descendants(second_run.process.pid)
        return {process.pid for process in family if "manage.py alerts" in processes.command_of(process)}

    [first] = outboxes()
    psutil.Process(first).kill()
    assert processes.wait_for(lambda: outboxes() not in (set(), {first}))
    assert get(f"{second_run.url}/health/ready")[0] == 200
    second_run.family = processes.with_descendants(second_run.process.pid)


def test_killing_it_leaves_no_process_and_no_portal_json(first_run: FirstRun, second_run: Up) -> None:
    second_run.family = processes.with_descendants(second_run.process.pid)
    assert second_run.child("gunicorn")
    assert second_run.child("mlflow")
    second_run.process.kill()
    assert second_run.leaves_nothing()
    keep(second_run.data, first_run.key)  # what starts after this `kill -9` has to find everything


# --- without an MLflow ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data_without_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("without") / "data"


@pytest.fixture(scope="module")
def started_by_make(data_without_mlflow: Path) -> Iterator[Up]:
    """Started as `make run` does, with an MLflow that does not answer; the second of two tests ends it."""
    wrapper = ["sh", "-c", '"$@" & wait', "make"]
    with up(data_without_mlflow, wrapper=wrapper, MLFLOW_URL=NOWHERE) as running:
        yield running


def test_an_unreachable_mlflow_never_stops_the_portal_from_starting(started_by_make: Up) -> None:
    assert "no round trip" in started_by_make.output
    assert "The next start tries again" in started_by_make.output
    assert get(f"{started_by_make.url}/health/ready")[0] == 200
    assert json.loads((started_by_make.data / "portal.json").read_text())["mlflow_url"] == NOWHERE


def test_a_portal_whose_make_is_killed_stops_too(started_by_make: Up) -> None:
    started_by_make.process.kill()
    assert started_by_make.leaves_nothing()
    output = started_by_make.process.communicate(timeout=60)[0]
    assert sum(line.startswith("stopped") for line in output.splitlines()) <= 1


def test_a_transfer_that_runs_at_sigterm_is_finished_before_everything_stops(
    data_without_mlflow: Path, echo: Any
) -> None:
    echo.script = Script(status=503)  # no MLflow for a first round trip
    half = bytes(300_000)
    with up(data_without_mlflow, MLFLOW_URL=echo.url, ISOLATION="off") as running:
        echo.script = None
        key = issue(running, "--any-owner", "--preset", "full")
        upload = request("PUT", UPLOAD, {"key": key}, f"Content-Length: {2 * len(half)}")
        with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
            connection.sendall(upload + half)
            assert processes.wait_for(lambda: any(call.length for call in echo.arriving))
            running.process.send_signal(signal.SIGTERM)
            assert processes.wait_for(lambda: get(f"{running.url}/health/ready")[0] == 503)
            connection.sendall(half)
            answer = b""
            while piece := connection.recv(2**16):
                answer += piece
        assert running.ended() == 0
    assert parsed(answer).status == 200
    assert running.output.endswith("stopped (SIGTERM)\n")
    assert running.leaves_nothing()


def test_a_portal_whose_terminal_goes_away_stops_too(data_without_mlflow: Path) -> None:
    master, terminal = pty.openpty()
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "manage.py", "up"],
        cwd=REPOSITORY,
        env=minimal_environment()
        | {"DATA_DIR": str(data_without_mlflow), "PORT": str(port), "MLFLOW_URL": NOWHERE},
        stdout=terminal,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # `nohup make test` ignores it
    ) as process:
        os.close(terminal)
        assert processes.wait_for(lambda: (data_without_mlflow / "portal.json").exists())
        family = processes.with_descendants(process.pid)
        os.close(master)
        process.wait(timeout=60)
    assert processes.none_left(family, data_without_mlflow)


def test_a_portal_whose_server_or_database_dies_stops_everything_and_says_why(
    data_without_mlflow: Path,
) -> None:
    for word, name in (("gunicorn", "the portal"), ("/postgres", "PostgreSQL")):
        with up(data_without_mlflow, MLFLOW_URL=NOWHERE) as running:
            running.child(word).kill()
            assert running.ended() == 1
        assert re.search(rf"error: {name} ended \(exit status -9\); see .*\.log", running.output)
        assert running.leaves_nothing()
