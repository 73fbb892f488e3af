"""Calls wait for their turn at MLflow, fairly between users."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.echo import Script
from tests.portals import Portal, portal, wait_for
from tests.proxy.forwarding.test_forwarding import ARTIFACT, GET_EXPERIMENT

pytestmark = pytest.mark.postgresql
SEARCH = "/api/mlflow/api/2.0/mlflow/runs/search"


@pytest.fixture(scope="module")
def narrow(echo_server) -> Portal:
    """A portal in front of an MLflow that works on three calls at a time, as the embedded one does."""
    with portal(mlflow_url=echo_server.url, MLFLOW_CONCURRENCY="3") as running:
        yield running


@pytest.fixture(scope="module")
def keys(narrow) -> dict[str, str]:
    return {user: narrow.issue(user, "--preset", "full")["key"] for user in ("alice", "bob")}


@pytest.fixture
def callers():
    with ThreadPoolExecutor(16) as pool:
        yield pool


def test_a_busy_caller_waits_in_the_portal_and_another_is_served_however_long_its_calls_take(
    narrow, keys, echo, callers
):
    door = threading.Event()
    echo.script = Script(hold=door, only="experiment_id=bob")
    bobs = [
        callers.submit(narrow.request, "GET", GET_EXPERIMENT.replace("=0", "=bob"), key=keys["bob"])
        for _ in range(6)
    ]
    assert wait_for(lambda: len(echo.arriving), lambda count: count >= 2) == 2
    assert wait_for(lambda: waiting(narrow), lambda count: count == 4) == 4
    assert narrow.request("GET", GET_EXPERIMENT, key=keys["alice"]).status == 200, "bob's two calls still run"
    assert len(echo.arriving) == 3
    door.set()

    assert [reply.result(20).status for reply in bobs] == [200] * 6


def test_searches_leave_half_of_the_capacity_to_other_calls(narrow, keys, echo, callers):
    door = threading.Event()
    echo.script = Script(hold=door, only="runs/search")
    searches = [callers.submit(search, narrow, keys["bob"]) for _ in range(3)]
    assert wait_for(lambda: len(echo.arriving), lambda count: count >= 1) == 1

    assert narrow.request("GET", GET_EXPERIMENT, key=keys["bob"]).status == 200
    assert len(echo.arriving) == 2
    door.set()
    assert [reply.result(20).status for reply in searches] == [200] * 3


def test_artifact_transfers_do_not_wait_for_calls(narrow, keys, echo, callers):
    door = threading.Event()
    echo.script = Script(hold=door, only="experiment_id")
    calls = [
        callers.submit(narrow.request, "GET", GET_EXPERIMENT, key=key) for key in (keys["alice"], keys["bob"])
    ]
    assert wait_for(lambda: len(echo.arriving), lambda count: count >= 2) == 2

    assert narrow.request("GET", f"/api/mlflow{ARTIFACT}", key=keys["bob"]).status == 200
    door.set()
    assert [reply.result(20).status for reply in calls] == [200, 200]


def search(running: Portal, key: str) -> "Future[object]":
    return running.request("POST", SEARCH, key=key, body={"experiment_ids": ["0"]})


def waiting(running: Portal) -> int:
    """Calls that wait for their turn, as /metrics tells."""
    for line in running.request("GET", "/metrics").body.decode().splitlines():
        if line.startswith("hokusai_calls_waiting"):
            return int(float(line.split()[-1]))
    return 0
