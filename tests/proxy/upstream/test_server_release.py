"""The portal learns the release of MLflow's server from the server, and again after a new connection to it."""

import logging

import pytest

from proxy.policy import upstream_checks
from proxy.routes import releases
from proxy.upstream import client, server_release
from proxy.upstream.workspaces import Workspace
from tests.echo import Script
from tests.portals import wait_for

SHARED = Workspace("shared")

TRACES = ["tr-" + "a" * 32, "tr-" + "b" * 32]
NOT_FOUND = b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such trace"}'


@pytest.fixture
def watched(echo, settings, monkeypatch):
    """The fake MLflow, watched as a worker of the portal does."""
    settings.MLFLOW_URL, settings.MLFLOW_TEST_URL = echo.url, ""
    monkeypatch.setattr(server_release, "servers", {})
    monkeypatch.setattr(client, "connection_listeners", [])
    monkeypatch.setattr(server_release, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(echo, "release", "3.17.2")
    server_release.start()
    assert wait_for(lambda: server_release.release_of(echo.url), seconds=10)
    yield echo
    client.connection_listeners.clear()


def test_an_upgrade_is_noticed_at_the_next_connection(watched, caplog):
    assert server_release.release_of(watched.url).text == "3.17.2"
    watched.release = "2.9.2"
    client.pool.cache_clear()  # a restart of the server closes its connections
    client.plain_pool.cache_clear()
    with caplog.at_level(logging.WARNING, "proxy.upstream.server_release"):
        client.send(watched.url, workspace=SHARED, method="GET", path="/health").data  # noqa: B018
        assert wait_for(lambda: server_release.release_of(watched.url).text == "2.9.2", seconds=10)
        assert wait_for(lambda: caplog.messages, seconds=5)

    assert "What does not work: traces; logged models" in caplog.messages[0]


def test_what_is_no_version_changes_nothing(watched):
    server = server_release.servers[watched.url]
    for text in ("", "<html>nginx</html>"):
        server.learn(text)
    assert server.release.text == "3.17.2"


class TestWhetherATraceExists:
    def test_a_server_below_3_11_is_asked_for_each(self, watched):
        server_release.servers[watched.url].release = releases.parse("3.10.1")
        watched.script = Script(status=404, body=NOT_FOUND, only=TRACES[1])

        assert upstream_checks.existing_traces(watched.url, SHARED, TRACES) == {TRACES[0]}
        assert [one.target for one in watched.received] == [
            f"/api/2.0/mlflow/traces/{trace}/info" for trace in TRACES
        ]

    @pytest.mark.parametrize("status", [404, 405])
    def test_a_server_of_unknown_release_that_lacks_the_route_too(self, status, watched):
        server_release.servers[watched.url].release = None
        watched.script = Script(status=status, body=b"<html>", only="batchGetInfos")

        assert upstream_checks.existing_traces(watched.url, SHARED, TRACES) == set(TRACES)

    def test_a_404_that_is_not_mlflows_is_no_answer(self, watched):
        server_release.servers[watched.url].release = releases.parse("3.10.1")
        watched.script = Script(status=404, body=b"<html>")

        with pytest.raises(client.Refusal) as refused:
            upstream_checks.existing_traces(watched.url, SHARED, TRACES)
        assert refused.value.status == 429
