"""Lists, totals and exports from the standby at DATABASE_READ_URL: on a real primary and its standby."""

import json
import os
import shutil
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import OperationalError
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory

from keys.models import User
from proxy.lists import read_replica
from proxy.lists.read_replica import ACTION_COOKIE, ALIAS, AS_OF_HEADER, Router, State, from_replica
from proxy.models import Call
from tests.environment import WATCHDOG
from tests.operate.postgresql import Cluster, Programs
from tests.portals import Portal, manage, portal, wait_for
from tests.sessions import Browser, sign_in

CREATE = "/api/mlflow/api/2.0/mlflow/registered-models/create"
CALLS, REGISTRATIONS = "/api/v1/calls", "/api/v1/registrations"
LOG_PAGE = "/admin/proxy/call/"
AS_OF = b"the read replica is behind"
DELAY = "100ms"


@dataclass
class Replicated(Portal):
    """A portal whose tables are in `primary`, and its lists in `standby`."""

    primary: Cluster
    standby: Cluster

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        url = self.primary.url("portal")
        with psycopg.connect(url) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def new_key(self, *options: str) -> str:
        told = self.manage("issue_key", "--user", "alice", "--name", "test", "--json", *options).stdout
        return str(json.loads(told)["key"])

    def register(self, key: str, name: str) -> str:
        """The request id of a registration that the primary has."""
        reply = self.request("POST", CREATE, key=key, body={"name": name})
        return str(reply.headers["X-Request-ID"])

    def has(self, path: str, key: str, request_id: str, **more: str) -> bool:
        """Whether this list or export of the API shows the request."""
        query = urllib.parse.urlencode({"request_id": request_id, **more})
        reply = self.request("GET", f"{path}?{query}", key=key)
        assert reply.status == 200, reply.body
        return request_id.encode() in reply.body.replace(query.encode(), b"")

    def wait_until_logged(self, request_id: str) -> None:
        statement = "select count(*) from proxy_call where request_id = %s"
        assert wait_for(lambda: self.sql(statement, request_id)[0][0])

    def problem(self) -> str:
        check = self.request("GET", "/health").json()["checks"]["read_replica"]
        return str(check.get("problem", ""))


@pytest.fixture(scope="module")
def running(echo_server: Any) -> Iterator[Replicated]:
    """A portal with a standby, whose user of PostgreSQL may enter the folder."""
    folder = Path(tempfile.mkdtemp(prefix="hokusai-tests-standby-"))
    folder.chmod(0o755)
    programs = Programs(folder, WATCHDOG)
    primary, standby = (
        Cluster(programs=programs, data=folder / name, watchdog=WATCHDOG) for name in ("primary", "standby")
    )
    try:
        primary.create()
        copy(primary, standby)
        urls = {"DATABASE_URL": primary.url("portal"), "DATABASE_READ_URL": standby.url("portal")}
        done = manage({**os.environ, **urls}, "migrate", "--verbosity", "0")
        assert not done.returncode, done.stderr
        with portal(mlflow_url=echo_server.url, database="portal", **urls) as plain:
            yield Replicated(**vars(plain), primary=primary, standby=standby)
    finally:
        standby.stop()
        primary.stop()
        programs.runtime.remove()
        shutil.rmtree(folder, ignore_errors=True)


def copy(primary: Cluster, standby: Cluster) -> None:
    program = standby.programs.clients / "pg_basebackup"
    words = ["--pgdata", standby.data, "--write-recovery-conf", "--checkpoint", "fast", "--no-sync"]
    source = primary.url("postgres", role="postgres")
    subprocess.run([program, *words, "--dbname", source], check=True)
    standby.programs.own(standby.data)
    standby.start(is_ready="select pg_is_in_recovery()")


@pytest.fixture(scope="module")
def key(running: Replicated) -> str:
    return running.new_key("--any-owner", "--preset", "full")


@pytest.fixture(scope="module")
def reader(running: Replicated) -> str:
    return running.new_key("--scope", "portal:read")


@pytest.fixture(scope="module")
def admin(running: Replicated) -> Browser:
    browser = sign_in(running, "root")
    running.manage("set_role", "root", "superuser")
    return browser


@contextmanager
def standing_still(running: Replicated) -> Iterator[None]:
    """The standby receives what happens, and does not show it."""
    running.standby.execute("select pg_wal_replay_pause()")
    paused = "select pg_get_wal_replay_pause_state() = 'paused'"
    assert wait_for(lambda: running.standby.rows(paused)[0][0])
    try:
        yield
    finally:
        running.standby.execute("select pg_wal_replay_resume()")


@contextmanager
def delayed(running: Replicated) -> Iterator[None]:
    """The standby shows every commit after DELAY."""
    set_delay(running, f"'{DELAY}'", shown=DELAY)
    try:
        yield
    finally:
        set_delay(running, "DEFAULT", shown="0")


def set_delay(running: Replicated, value: str, *, shown: str) -> None:
    running.standby.execute(f"alter system set recovery_min_apply_delay = {value}")
    running.standby.execute("select pg_reload_conf()")
    assert wait_for(lambda: running.standby.rows("show recovery_min_apply_delay") == [(shown,)])


@pytest.mark.postgresql
@pytest.mark.server
@pytest.mark.parametrize("path", [CALLS, f"{CALLS}/export", REGISTRATIONS, f"{REGISTRATIONS}/export"])
def test_lists_and_exports_are_those_of_the_standby(path, running, echo, key, reader):
    with standing_still(running):
        request_id = running.register(key, "lists")
        running.wait_until_logged(request_id)
        assert not running.has(path, reader, request_id)
        reply = running.request("GET", path, key=reader)
        assert datetime.fromisoformat(reply.headers[AS_OF_HEADER]) < datetime.now(UTC)
    assert wait_for(lambda: running.has(path, reader, request_id))


@pytest.mark.postgresql
@pytest.mark.server
def test_single_rows_and_everything_else_are_those_of_the_primary(running, echo, key, reader):
    with standing_still(running):
        request_id = running.register(key, "single")
        running.wait_until_logged(request_id)
        for path in (f"{CALLS}/{request_id}", f"{REGISTRATIONS}/{request_id}"):
            assert running.request("GET", path, key=reader).status == 200
        new = running.new_key("--scope", "portal:read")
        assert running.request("GET", CALLS, key=new).status == 200  # the standby does not know the key yet


@pytest.mark.postgresql
@pytest.mark.server
def test_a_standby_with_a_small_delay_shows_what_the_reader_has_just_written(running, echo, key, reader):
    with delayed(running):
        for number in range(5):
            request_id = running.register(key, f"just-{number}")
            assert running.has(REGISTRATIONS, reader, request_id)


@pytest.mark.postgresql
@pytest.mark.server
def test_a_page_says_as_of_when_its_data_are_and_after_an_action_it_reads_the_primary(
    running, echo, key, admin
):
    assert AS_OF not in admin.call("GET", LOG_PAGE).body
    with standing_still(running):
        request_id = running.register(key, "page")
        running.wait_until_logged(request_id)
        address = f"{LOG_PAGE}?request_id={request_id}"
        page = wait_for(lambda: admin.call("GET", address).body, lambda body: AS_OF in body, seconds=20)
        assert AS_OF in page
        assert b"No calls match" in page
        acted = admin.call("GET", address, Cookie=f"{admin.cookie}; {ACTION_COOKIE}=1").body
        assert AS_OF not in acted
        assert b"No calls match" not in acted
        check = running.request("GET", "/health").json()["checks"]["read_replica"]
        assert check["status"] == "ok"
        assert check["lag_seconds"] > read_replica.FRESH_SECONDS
        done = running.manage("list_calls", "--limit", "1")
        assert "the read replica is" in done.stderr
    assert wait_for(lambda: AS_OF not in admin.call("GET", LOG_PAGE).body)


@pytest.mark.postgresql
@pytest.mark.server
def test_without_the_standby_the_primary_is_read_and_the_log_and_health_say_so(running, echo, key, reader):
    assert running.problem() == ""
    running.standby.stop()
    request_id = running.register(key, "away")
    try:
        assert running.has(REGISTRATIONS, reader, request_id)
        assert "read_replica_unavailable" in running.log.read_text()
        reply = running.request("GET", "/health")
        assert (reply.status, reply.json()["status"]) == (200, "degraded")
        assert "cannot be reached" in running.problem()
    finally:
        running.standby.start(is_ready="select pg_is_in_recovery()")
    assert wait_for(lambda: running.problem() == "", seconds=60)
    with standing_still(running):
        request_id = running.register(key, "back")
        assert not running.has(REGISTRATIONS, reader, request_id)


@pytest.mark.postgresql
@pytest.mark.server
def test_a_server_that_is_no_standby_is_not_read(running, echo, key):
    other = {**running.environment, "DATABASE_READ_URL": running.primary.url("portal")}
    done = manage(other, "list_calls", "--limit", "1")
    assert done.returncode == 0
    assert "is not used: it is no standby" in done.stderr


@pytest.fixture
def standby(monkeypatch):
    """A standby that has everything, and is never asked."""
    monkeypatch.setattr(read_replica, "is_configured", lambda: True)
    monkeypatch.setattr(read_replica, "find_state", State)
    monkeypatch.setattr(read_replica, "discard_dead_connections", lambda alias: None)
    monkeypatch.setattr(read_replica, "give_back_connection", lambda: None)  # a test before may have one


def database_for_reading() -> str | None:
    return Router().db_for_read(Call)


def test_only_reads_of_the_log_and_the_ledger_inside_a_list_go_to_the_standby():
    router = Router()
    assert router.db_for_read(Call) == "default"
    with read_replica.reading():
        assert router.db_for_read(Call) == ALIAS
        assert router.db_for_read(User) == "default"
        assert router.db_for_write(Call) == "default"
    assert router.db_for_read(Call) == "default"
    assert [router.allow_migrate(name, "proxy") for name in ("default", ALIAS)] == [True, False]


def test_an_export_is_read_from_the_standby_after_the_view_has_returned(standby):
    @from_replica
    def view(request):
        return StreamingHttpResponse(database_for_reading().encode() for _ in range(2))

    response = view(RequestFactory().get("/"))
    seen = [(piece, database_for_reading()) for piece in response.streaming_content]
    assert seen == [(ALIAS.encode(), "default")] * 2


def test_a_page_on_which_the_standby_fails_is_read_from_the_primary(standby):
    asked = []

    @from_replica
    def view(request):
        asked.append(database_for_reading())
        if asked[-1] == ALIAS:
            raise OperationalError("canceling statement due to conflict with recovery")
        return HttpResponse("all")

    assert view(RequestFactory().get("/")).content == b"all"
    assert asked == [ALIAS, "default"]


def test_a_query_that_takes_too_long_for_the_standby_is_not_repeated_on_the_primary(standby):
    asked = []

    @from_replica
    def view(request):
        asked.append(database_for_reading())
        raise OperationalError("timeout") from psycopg.errors.QueryCanceled("timeout")

    with pytest.raises(OperationalError):
        view(RequestFactory().get("/"))
    assert asked == [ALIAS]


@pytest.mark.parametrize(
    ("method", "path", "status", "is_action"),
    [
        ("POST", "/admin/keys/apikey/1/pause/", 302, True),
        ("POST", "/account/keys/", 302, True),
        ("POST", "/admin/keys/apikey/1/pause/", 403, False),
        ("POST", "/admin/proxy/call/find/", 303, False),  # a search
        ("GET", "/admin/proxy/call/", 200, False),
        ("POST", "/api/v1/keys", 201, False),
    ],
)
def test_after_an_action_the_browser_says_that_it_needs_current_pages(method, path, status, is_action):
    respond = read_replica.note_actions(lambda request: HttpResponse(status=status))
    response = respond(RequestFactory().generic(method, path))
    assert (ACTION_COOKIE in response.cookies) == is_action


def test_the_lag_is_the_time_since_the_last_commit_that_the_standby_has():
    assert State().lag_seconds == 0
    behind = State(as_of=datetime.now(UTC) - timedelta(seconds=60))
    assert 60 <= behind.lag_seconds < 70
