"""A server that does not keep organisations apart gets no call, also if it lost the flag while the portal ran."""

import contextlib
import json

import pytest

from keys.refusals import Refusal
from proxy.upstream import client, isolation
from proxy.upstream.workspaces import HEADER, Workspace
from tests.echo import Script
from tests.portals import wait_for

NORTH = Workspace("north")
INFO, WORKSPACES = "server-info", "/api/3.0/mlflow/workspaces"


@pytest.fixture
def server(echo, settings, monkeypatch):
    """The fake MLflow, of which the portal knows nothing yet."""
    settings.ISOLATION = "required"
    monkeypatch.setattr(isolation, "servers", {})
    echo.script = says(True)
    return echo


def says(enabled: bool | None) -> Script:
    """What `server-info` states; None: nothing about workspaces, like a server before 3.10."""
    content = {"store_type": "SqlStore"} | ({} if enabled is None else {"workspaces_enabled": enabled})
    return Script(body=json.dumps(content).encode(), only=INFO)


def call(server) -> None:
    client.send(server.url, workspace=NORTH, method="GET", path="/api/2.0/mlflow/experiments/get").data  # noqa: B018


def refused(server) -> Refusal:
    with pytest.raises(Refusal) as raised:
        call(server)
    return raised.value


def targets(server) -> list[str]:
    return [received.target for received in server.received]


def test_a_call_acts_in_the_organisations_workspace(server):
    call(server)

    assert server.last.values(HEADER) == ["north"]
    assert targets(server)[:2] == [f"/api/3.0/mlflow/{INFO}", f"{WORKSPACES}/north"]


def test_the_server_is_not_asked_again_for_each_call(server):
    call(server)
    asked = len(server.received)
    call(server)

    assert len(server.received) == asked + 1


@pytest.mark.parametrize("enabled", [False, None])
def test_a_server_without_workspaces_gets_no_call(enabled, server):
    server.script = says(enabled)

    refusal = refused(server)

    assert (refusal.status, refusal.reason, refusal.is_not_sent) == (503, "isolation_missing", True)
    assert targets(server) == [f"/api/3.0/mlflow/{INFO}"]


def test_a_server_that_does_not_state_it_gets_no_call(server):
    server.script = Script(status=500, body=b"{}", only=INFO)

    assert refused(server).reason == "isolation_missing"


def test_a_server_that_lost_the_flag_gets_no_further_call_within_a_minute(server, monkeypatch):
    call(server)
    server.script = says(False)
    known = isolation.servers[server.url]
    known.asked -= isolation.EVERY_SECONDS  # so much time has passed

    with contextlib.suppress(Refusal):  # the portal asks beside the call, and may have the answer before it
        call(server)

    assert wait_for(lambda: known.problem, seconds=10)
    assert refused(server).reason == "isolation_missing"
    assert isolation.EVERY_SECONDS < isolation.MOST_SECONDS < 60


def test_after_a_long_silence_the_server_is_asked_before_the_call(server):
    call(server)
    server.script = says(False)
    isolation.servers[server.url].asked -= isolation.MOST_SECONDS + 1

    assert refused(server).reason == "isolation_missing"


def test_a_workspace_that_the_server_lacks_is_created_once(server):
    answers = [says(True), Script(status=404, body=b"{}", only=f"{WORKSPACES}/")]
    server.script = answers[0]
    isolation.require(server.url, Workspace("first"))  # the server is known to have workspaces now
    server.script = answers[1]

    isolation.require(server.url, NORTH)
    isolation.require(server.url, NORTH)

    created = [received for received in server.received if received.method == "POST"]
    assert [json.loads(received.body)["name"] for received in created] == ["north"]


def test_with_isolation_off_no_header_is_sent(server, settings):
    settings.ISOLATION = "off"

    call(server)

    assert server.last.values(HEADER) == []
    assert len(server.received) == 1
