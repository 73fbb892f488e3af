"""Faults that docs/faults.md lists and no other module brings about, each on real parts."""

import contextlib
import os

import psycopg
import pytest

from tests.chaos.callers import READ, WRITE
from tests.portals import Portal, Reply, wait_for

pytestmark = pytest.mark.postgresql

WHOLE = os.environ.get("CHAOS") == "whole"
MODELS = "/api/mlflow/api/2.0/mlflow/registered-models/create"


def call(portal: Portal, key: str, what: tuple[str, str, bytes]) -> Reply:
    method, path, body = what
    headers = [("Content-Type", "application/json")] if body else []
    return portal.request(method, path, key=key, body=body or None, headers=headers)


def all_logged(switch, replies: list[Reply]) -> bool:
    names = [reply.headers["X-Request-ID"] for reply in replies]
    query = "select request_id from proxy_call where request_id = any(%s)"
    return wait_for(lambda: {name for (name,) in switch.rows(query, names)} == set(names), seconds=30)


def test_postgresql_becomes_read_only(switch, alice, start_portal):
    portal = start_portal()
    replies = [call(portal, alice, what) for what in (READ, WRITE)]
    assert {reply.status for reply in replies} == {200}
    with psycopg.connect(switch.url, autocommit=True) as connection:
        connection.execute("alter system set default_transaction_read_only = on")
        connection.execute("select pg_reload_conf()")
    try:
        assert wait_for(lambda: switch.rows("show default_transaction_read_only") == [("on",)])
        during = [call(portal, alice, what) for what in (READ, WRITE) * 3]
        refused = portal.request("POST", MODELS, key=alice, body={"name": "read-only"})
        page = portal.request("GET", "/account/login/")
    finally:
        with psycopg.connect(switch.url, autocommit=True) as connection:
            connection.execute("set default_transaction_read_only = off")
            connection.execute("alter system reset default_transaction_read_only")
            connection.execute("select pg_reload_conf()")

    assert {reply.status for reply in during} == {200}
    assert (refused.status, refused.json()["error_code"]) == (429, "TEMPORARILY_UNAVAILABLE")
    assert 1 <= int(refused.headers["Retry-After"]) <= 30
    assert page.status == 200
    again = lambda: portal.request("POST", MODELS, key=alice, body={"name": "writable"}).status  # noqa: E731
    assert wait_for(again, lambda status: status == 200) == 200
    assert all_logged(switch, [*replies, *during, refused])


def test_postgresql_has_no_connections_left(switch, alice, start_portal):
    portal = start_portal()
    replies = [call(portal, alice, what) for what in (READ, WRITE)]
    held: list[psycopg.Connection] = []
    others = (
        "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"
    )
    with contextlib.ExitStack() as stack:

        def take_all() -> None:
            with contextlib.suppress(psycopg.OperationalError):
                while True:
                    made = psycopg.connect(switch.url, autocommit=True, application_name="taker")
                    held.append(stack.enter_context(contextlib.closing(made)))

        take_all()
        for _ in range(20):  # the portal's own connections end, and are taken before it can take them back
            held[0].execute(
                f"select pg_terminate_backend(pid) from ({others}) o where pid <> all(%s)", [pids(held)]
            )
            take_all()
            rows = (
                held[0]
                .execute(
                    "select count(*) from pg_stat_activity where backend_type = 'client backend' "
                    "and application_name <> 'taker'"
                )
                .fetchone()
            )
            if rows == (0,):
                break
        during = [call(portal, alice, what) for what in (READ, WRITE) * 3]
        unknown = portal.request("GET", READ[1], key="hk_live_" + "0" * 32)
        ready = portal.request("GET", "/health/ready")
        live = portal.request("GET", "/health/live")

    assert {reply.status for reply in during} == {200}
    assert unknown.status in (401, 429)
    assert (ready.status, live.status) == (503, 200)
    assert (
        wait_for(
            lambda: portal.request("GET", "/health/ready").status, lambda status: status == 200, seconds=20
        )
        == 200
    )
    assert all_logged(switch, [*replies, *during])


def pids(connections: list[psycopg.Connection]) -> list[int]:
    return [connection.info.backend_pid for connection in connections]
