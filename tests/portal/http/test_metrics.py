"""What Prometheus reads: the truth over all processes, the dead included, and only where it may be read."""

import os
import signal

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.portals import Portal, create_database, portal, wait_for
from tests.proxy.forwarding.test_forwarding import GET_EXPERIMENT, UPLOAD

pytestmark = pytest.mark.postgresql


def numbers(running: Portal) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels."""
    reply = running.request("GET", "/metrics")
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
    }


def wait_until(running: Portal, name: tuple[str, ...], value: float) -> dict[tuple[str, ...], float]:
    found = wait_for(lambda: numbers(running), lambda found: found.get(name) == value, seconds=5)
    assert found.get(name) == value
    return found


def test_three_processes_are_one_and_what_a_killed_one_counted_stays(echo, echo_portal):
    key = echo_portal.issue("counted", "--any-owner", "--preset", "full")["key"]
    with portal(mlflow_url=echo.url, database=echo_portal.database, WORKERS="3") as running:
        workers = psutil.Process(running.process.pid).children
        assert wait_for(lambda: len(workers()) == 3)
        for _ in range(60):
            assert running.request("GET", GET_EXPERIMENT, key=key).status == 200
        name = ("hokusai_calls_total", "tracking:read", "2xx")
        wait_until(running, name, 60)
        folder = next((running.log.parent / "metrics").iterdir())
        assert len({path.stem.rpartition("_")[2] for path in folder.glob("counter_*.db")}) > 1
        for victim in workers()[:2]:
            os.kill(victim.pid, signal.SIGKILL)
            assert wait_for(lambda: not list(folder.glob(f"*_{victim.pid}.db")))  # noqa: B023
            found = wait_until(running, name, 60)
            assert found["hokusai_call_seconds_count", "tracking:read"] == 60
            assert found["hokusai_requests_in_flight",] == 1
        for _ in range(10):
            running.request("GET", GET_EXPERIMENT, key=key)
        wait_until(running, name, 70)


@pytest.mark.alone
def test_every_kind_of_call_is_counted_where_it_belongs(echo):
    with portal(mlflow_url=echo.url) as running:  # whose database has no other test's registrations
        key = running.issue("counted", "--any-owner", "--preset", "full")["key"]
        running.request("PUT", UPLOAD, key=key, body=bytes(1000))
        read = running.request("GET", GET_EXPERIMENT, key=key)
        running.request("GET", GET_EXPERIMENT)
        running.request("GET", GET_EXPERIMENT, key="hk_live_" + "0" * 32)
        running.request("GET", "/api/mlflow/api/2.0/mlflow/nonsense", key=key)
        running.request("GET", "/")
        found = wait_until(running, ("hokusai_calls_total", "unmatched", "4xx"), 3)

    assert found["hokusai_calls_total", "artifacts:write", "2xx"] == 1
    assert found["hokusai_received_bytes_total", "artifacts:write"] == 1000
    assert found["hokusai_sent_bytes_total", "tracking:read"] == len(read.body)
    assert found["hokusai_upstream_seconds_count", "tracking:read"] == 1
    assert 0 < found["hokusai_call_seconds_sum", "tracking:read"] < 10
    assert found["hokusai_refusals_total", "not_a_route"] == 1
    assert found["hokusai_keyless_attempts_total", "no_key"] == 1
    assert found["hokusai_keyless_attempts_total", "malformed_key"] == 1
    assert found["hokusai_key_lookups_total", "miss"] == 1
    assert found["hokusai_key_lookups_total", "hit"] == 2
    assert found["hokusai_postgresql_up",] == 1
    assert found["hokusai_registrations_pending",] == 0
    assert {name[0] for name in found} >= {
        "hokusai_spool_calls",
        "hokusai_spool_oldest_seconds",
        "hokusai_registrations_pending",
        "hokusai_alerts_oldest_seconds",
        "hokusai_alerts_failed",
        "hokusai_scans_waiting",
    }


def test_it_says_when_postgresql_is_away_and_does_not_fail(echo):
    away = {"DATABASE_URL": "postgresql:///portal?host=/nonexistent-folder"}
    with portal(mlflow_url=echo.url, database="portal", **away) as running:
        assert numbers(running)["hokusai_postgresql_up",] == 0


FORGED = [
    [("X-Forwarded-For", "127.0.0.1")],
    [("X-Forwarded-For", "")],
    [("Forwarded", "for=127.0.0.1")],
    [("X-Real-IP", "127.0.0.1")],
    [("Via", "1.1 proxy")],
]


@pytest.mark.parametrize("headers", FORGED)
def test_what_came_through_a_proxy_that_is_not_ours_reads_nothing(headers, echo_portal):
    reply = echo_portal.request("GET", "/metrics", headers=headers)

    assert (reply.status, reply.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert b"hokusai_calls" not in reply.body


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [
        (None, 200),  # straight from this machine
        ("127.0.0.1", 200),
        ("203.0.113.9", 403),
        ("127.0.0.1, 203.0.113.9", 403),  # the first is what the caller wrote
        ("203.0.113.9, 127.0.0.1", 200),
        ("nonsense, 203.0.113.9", 403),
    ],
)
def test_behind_a_proxy_of_ours_the_address_that_it_saw_counts(forwarded, status, second_portal):
    headers = [("X-Forwarded-For", forwarded)] if forwarded else []
    assert second_portal.request("GET", "/metrics", headers=headers).status == status


def test_other_networks_may_be_named(echo):
    with portal(
        mlflow_url=echo.url, database=create_database(), METRICS_ALLOW="10.0.0.0/8,192.0.2.1/32"
    ) as running:
        assert running.request("GET", "/metrics").status == 403


def test_only_reading_is_served(echo_portal):
    assert echo_portal.request("POST", "/metrics", body=b"").status == 405
    assert echo_portal.request("GET", "/metrics/").status == 404
