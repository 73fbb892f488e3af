"""Is the portal well? Exact 200 or 503, in JSON, to anybody, before any catch-all."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from portal.http import health
from portal.one_machine.ports import free_port
from tests.echo import Script
from tests.portals import Portal, create_database, portal, wait_for

pytestmark = pytest.mark.postgresql

MLFLOW_HEALTH = ("/health/mlflow", "/mlflow/health/mlflow", "/api/mlflow/health/mlflow", "/api/health/mlflow")
PATHS = ("/health", "/health/live", "/health/ready", *MLFLOW_HEALTH)
FORWARDED = ("/mlflow/health", "/api/mlflow/health")
GET_EXPERIMENT = "/api/mlflow/api/2.0/mlflow/experiments/get?experiment_id=0"


def states(running: Portal) -> dict[str, tuple[int, str]]:
    """Status and state of each health path, asked at the same time."""

    def ask(path: str) -> tuple[int, str]:
        reply = running.request("GET", path)
        assert reply.headers["Content-Type"] == "application/json"
        return reply.status, reply.json()["status"]

    with ThreadPoolExecutor(len(PATHS)) as pool:
        return dict(zip(PATHS, pool.map(ask, PATHS), strict=True))


def test_a_healthy_portal_says_ok_on_every_path(echo, echo_portal):
    assert states(echo_portal) == dict.fromkeys(PATHS, (200, "ok"))
    assert set(echo_portal.request("GET", "/health").json()["checks"]) == {"postgresql", "mlflow", "spool"}
    assert set(echo_portal.request("GET", "/health/ready").json()["checks"]) == {"postgresql"}
    for path in MLFLOW_HEALTH:
        assert set(echo_portal.request("GET", path).json()["checks"]) == {"mlflow"}
    assert {received.target for received in echo.received} == {"/health"}
    assert not any(received.names & {"authorization", "cookie"} for received in echo.received)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("accept", ["*/*", "text/html,application/xhtml+xml"])
def test_neither_key_nor_session_is_asked_for_nor_anything_cached(path, accept, echo, echo_portal):
    for headers in ([], [("Authorization", "Bearer nonsense")], [("Cookie", f"sessionid={'x' * 32}")]):
        reply = echo_portal.request("GET", path, headers=[("Accept", accept), *headers])
        assert reply.status == 200
        assert reply.headers["Location"] is None
        assert "no-store" in reply.headers["Cache-Control"]
        assert reply.headers["Set-Cookie"] is None
    assert echo_portal.request("HEAD", path).status == 200


@pytest.mark.parametrize("path", FORWARDED)
def test_mlflows_own_health_is_mlflows_with_a_key(path, echo, echo_portal, echo_key):
    echo.script = Script(body=b"OK", headers=[("Content-Type", "text/plain")])
    assert echo_portal.request("GET", path).status == 401
    assert not echo.arriving

    reply = echo_portal.request("GET", path, key=echo_key["key"])

    assert (reply.status, reply.body, echo.last.target) == (200, b"OK", "/health")


@pytest.mark.parametrize("path", ["/health/", "/health/x", "/health/live/", "/healthy"])
def test_what_is_not_a_health_path_is_not_one(path, echo, echo_portal):
    assert echo_portal.request("GET", path).status == 404


def test_liveness_touches_neither_postgresql_nor_mlflow():
    """In this test no database may be used, and MLflow's address is the discard port."""
    client = Client()
    client.cookies["sessionid"] = "x" * 32
    reply = client.get("/health/live")

    assert (reply.status_code, reply.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("status", [404, 500, 401])
def test_an_mlflow_that_is_not_well_is_down(status, echo, echo_portal):
    echo.script = Script(status=status)
    reply = echo_portal.request("GET", "/health/mlflow")

    assert (reply.status, reply.json()["status"]) == (503, "down")
    assert str(status) in reply.json()["checks"]["mlflow"]["problem"]


def test_without_mlflow_the_portal_starts_and_says_so(echo_portal):
    port = free_port()
    with portal(mlflow_url=f"http://127.0.0.1:{port}", database=echo_portal.database) as running:
        down = dict.fromkeys(MLFLOW_HEALTH, (503, "down"))
        assert states(running) == {
            "/health": (503, "down"),
            "/health/live": (200, "ok"),
            "/health/ready": (200, "ok"),
            **down,
        }
        shown = running.request("GET", "/health").json()
    assert shown["checks"]["postgresql"]["status"] == "ok"
    assert str(port) not in str(shown["checks"]["mlflow"]["problem"])


def test_without_postgresql_a_key_is_not_called_bad(echo, echo_server, echo_key):
    away = {"DATABASE_URL": "postgresql:///portal?host=/nonexistent-folder"}
    with portal(mlflow_url=echo_server.url, database="portal", **away) as running:
        assert states(running) == {
            "/health": (503, "down"),
            "/health/live": (200, "ok"),
            "/health/ready": (503, "down"),
            **dict.fromkeys(MLFLOW_HEALTH, (200, "ok")),
        }
        reply = running.request("GET", GET_EXPERIMENT, key=echo_key["key"])
        shown = running.request("GET", "/health").json()
    assert (reply.status, reply.json()["error_code"]) == (429, "TEMPORARILY_UNAVAILABLE")
    assert 0 < int(reply.headers["Retry-After"]) <= 30
    assert "nonexistent" not in str(shown)
    assert shown["checks"]["mlflow"]["status"] == "ok"


def test_a_database_that_is_not_migrated_is_not_ready(echo_server):
    with portal(mlflow_url=echo_server.url, database=create_database()) as running:
        reply = running.request("GET", "/health/ready")

    assert reply.status == 503
    assert "migrations are pending" in reply.json()["checks"]["postgresql"]["problem"]


@pytest.mark.django_db
def test_that_no_migration_is_pending_is_one_query_until_one_is(monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(health, "_complete", None)
    assert health.postgresql()["status"] == "ok"
    with django_assert_num_queries(1):
        assert health.postgresql()["status"] == "ok"

    MigrationRecorder.Migration.objects.latest("id").delete()

    assert "1 migrations are pending" in health.postgresql()["problem"]


def test_connections_that_died_are_found_before_they_are_used(echo, echo_portal):
    """After a crash of PostgreSQL, each pooled connection is dead: none of them may be handed out."""
    own = "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    pooled = "application_name is distinct from 'hokusai-listener'"
    with ThreadPoolExecutor(8) as pool:  # so that the pool holds several connections
        list(pool.map(lambda _: echo_portal.request("GET", "/health/ready"), range(24)))
    killed = [pid for [pid] in echo_portal.sql(f"{own} and {pooled}")]
    echo_portal.sql("select pg_terminate_backend(pid) from unnest(%s) as pid", killed)
    gone = "select count(*) from pg_stat_activity where pid = any(%s)"

    assert len(killed) >= 2
    assert wait_for(lambda: echo_portal.sql(gone, killed) == [(0,)])
    assert [echo_portal.request("GET", "/health/ready").status for _ in range(10)] == [200] * 10


@pytest.mark.parametrize(
    ("mlflow", "spool", "status", "words"),
    [
        ("ok", "ok", 200, "The registry works"),
        ("ok", "degraded", 200, "The registry works, with a fault"),
        ("down", "ok", 503, "The registry does not work"),
    ],
)
def test_a_browser_gets_a_page_and_a_program_json(client, monkeypatch, mlflow, spool, status, words):
    """Without the database: the page says so when PostgreSQL is down."""
    results = {name: {"status": state, "ms": 1.5} for name, state in (("mlflow", mlflow), ("spool", spool))}
    monkeypatch.setattr(health, "checks", lambda: results)

    page = client.get("/health", HTTP_ACCEPT="text/html,*/*;q=0.8")
    program = client.get("/health", HTTP_ACCEPT="*/*")
    with_key = client.get("/health", HTTP_ACCEPT="text/html", HTTP_X_API_KEY="hk_live_x")

    assert (page.status_code, program.status_code) == (status, status)
    assert f"<h1>{words}</h1>" in page.content.decode()
    assert page["Content-Type"].startswith("text/html")
    assert program.json()["checks"] == with_key.json()["checks"] == results
    assert page["Vary"] == program["Vary"] == "Accept"
    assert "no-store" in page["Cache-Control"]
