"""The usage log: one row for each authenticated call, refused ones included, and nothing that is secret."""

import datetime

import pytest

from tests.echo import Script
from tests.proxy.test_forwarding import ARTIFACT, GET_EXPERIMENT, request

pytestmark = pytest.mark.postgresql


def logged(portal, reply) -> dict:
    [call] = portal.calls(request_id=reply.headers["X-Request-ID"])
    return call


def test_a_call_is_logged_with_what_it_was(echo, echo_portal, echo_key):
    echo.script = Script(body=b"x" * 321, headers=[("Content-Type", "application/json")])
    reply = echo_portal.request(
        "POST",
        "/api/mlflow/api/2.0/mlflow/runs/search?note=1",
        key=echo_key["key"],
        body={"a": 1},
        headers=[("User-Agent", "mlflow-python-client/3.17.2")],
    )

    call = logged(echo_portal, reply)
    [(key_id, user_id)] = echo_portal.sql(
        "select k.id, u.id from keys_apikey k join keys_user u on u.id = k.owner_id where k.public_id = %s",
        echo_key["id"],
    )
    assert (call["key_id"], call["user_id"]) == (key_id, user_id)
    assert (call["operation"], call["method"], call["status"]) == ("runs.search", "POST", 200)
    assert call["path"].endswith("/api/2.0/mlflow/runs/search")
    assert (call["bytes_in"], call["bytes_out"], call["reason"]) == (len(b'{"a": 1}'), 321, "")
    assert str(call["address"]) == "127.0.0.1"
    assert call["client"] == "mlflow-python-client/3.17.2"
    assert 0 < call["upstream_ms"] <= call["duration_ms"] < 60_000
    assert abs(datetime.datetime.now(datetime.UTC) - call["at"]) < datetime.timedelta(minutes=1)


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/api/mlflow/api/2.0/nothing", 404, "not_a_route"),
        ("GET", "/api/mlflow/signup", 403, "route_refused"),
        ("GET", "/api/mlflow/a/../b", 400, "bad_path"),
        ("GET", "/api/mlflow/a%00b", 400, "bad_path"),
        ("OPTIONS", GET_EXPERIMENT, 404, "not_a_route"),
    ],
)
def test_a_refused_call_is_logged_with_the_reason(method, path, status, reason, echo, echo_portal, echo_key):
    reply = echo_portal.exchange(request(method, path, echo_key))

    call = logged(echo_portal, reply)
    assert reply.status == status
    assert (call["status"], call["reason"], call["upstream_ms"]) == (status, reason, 0)


def test_neither_query_nor_credential_is_in_the_log(echo, echo_portal, echo_key):
    reply = echo_portal.request("GET", f"{GET_EXPERIMENT}&note=quite-private", key=echo_key["key"])

    call = str(logged(echo_portal, reply))
    assert "quite-private" not in call
    assert echo_key["key"][8:34] not in call


def test_a_call_without_a_valid_key_is_nobodys(echo, echo_portal):
    replies = [
        echo_portal.request("GET", GET_EXPERIMENT),
        echo_portal.request("GET", GET_EXPERIMENT, key="hk_live_nonsense"),
    ]

    assert [reply.status for reply in replies] == [401, 401]
    ids = [reply.headers["X-Request-ID"] for reply in replies]
    assert not echo_portal.calls(at_least=1, seconds=0.5, request_id=ids[0])
    assert not echo_portal.calls(at_least=1, seconds=0, request_id=ids[1])


def test_long_names_are_cut_and_not_lost(echo, echo_portal, echo_key):
    reply = echo_portal.request(
        "PUT",
        f"/api/mlflow{ARTIFACT}/{'x' * 3000}",
        key=echo_key["key"],
        body=b"x",
        headers=[("User-Agent", "y" * 3000)],
    )

    call = logged(echo_portal, reply)
    assert reply.status == 200
    assert call["path"].startswith("/api/mlflow/api/2.0/mlflow-artifacts/")
    assert call["client"].startswith("yyyy")


def test_each_call_is_logged_once(echo, echo_portal, echo_key):
    ids = {
        echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"]).headers["X-Request-ID"]
        for _ in range(20)
    }

    rows = [row for name in ids for row in echo_portal.calls(request_id=name)]
    assert len(rows) == len(ids) == 20
