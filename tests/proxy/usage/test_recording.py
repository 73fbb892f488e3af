"""The usage log: one row for each authenticated call, refused ones included, and nothing that is secret."""

import datetime
import json
import re
import shutil
import signal
from pathlib import Path

import pytest

from keys import actions
from keys.credentials import cache
from keys.models import User
from proxy.models import Owner
from proxy.policy import ownership
from proxy.usage import recording
from proxy.usage.spool import START, Spool
from tests.echo import Script
from tests.portals import portal, wait_for
from tests.proxy.forwarding.test_forwarding import ARTIFACT, GET_EXPERIMENT, request

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
        headers=[
            ("User-Agent", "mlflow-python-client/3.17.2"),
            ("X-MLflow-Client-Version", "3.17.2"),
        ],
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
    assert (call["client"], call["client_version"]) == ("mlflow-python-client/3.17.2", "3.17.2")
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


RUN = "6" * 32


@pytest.mark.parametrize(
    ("method", "path", "body", "kind", "name"),
    [
        ("GET", "/api/2.0/mlflow/runs/get?run_id=" + RUN, None, "run", RUN),
        ("GET", "/api/2.0/mlflow/experiments/get?experiment_id=7", None, "experiment", "7"),
        (
            "GET",
            "/api/2.0/mlflow/registered-models/get?name=fraud%20net",
            None,
            "registered_model",
            "fraud net",
        ),
        ("GET", "/api/2.0/mlflow/model-versions/get?name=a&version=1", None, "registered_model", "a"),
        ("GET", "/api/2.0/mlflow/logged-models/m-1", None, "logged_model", "m-1"),
        ("GET", f"/api/2.0/mlflow-artifacts/artifacts/7/{RUN}/artifacts/x", None, "run", RUN),
        ("POST", "/api/2.0/mlflow/runs/log-metric", {"run_id": RUN, "key": "a", "value": 1}, "run", RUN),
        ("POST", "/api/2.0/mlflow/registered-models/create", {"name": "net"}, "registered_model", "net"),
        ("POST", "/api/2.0/mlflow/runs/search", {}, "", ""),
    ],
)
def test_the_object_is_named_where_the_call_names_one(
    method, path, body, kind, name, echo, echo_portal, echo_key
):
    reply = echo_portal.request(method, f"/api/mlflow{path}", key=echo_key["key"], body=body)

    call = logged(echo_portal, reply)
    assert (call["object_kind"], call["object_name"]) == (kind, name)


def test_a_refused_write_names_what_it_was_about(echo, echo_portal):
    key = echo_portal.issue("bob")
    body = {"run_id": RUN, "key": "a", "value": 1}
    reply = echo_portal.request(
        "POST", "/api/mlflow/api/2.0/mlflow/runs/log-metric", key=key["key"], body=body
    )

    call = logged(echo_portal, reply)
    assert (reply.status, call["reason"]) == (403, "not_owner")
    assert (call["object_kind"], call["object_name"]) == ("run", RUN)


def test_an_answer_in_many_pieces_and_one_without_a_body_are_whole(echo, echo_portal, echo_key):
    for script, count in ((Script(size=10**6), 10**6), (Script(status=204), 0)):
        echo.script = script
        reply = echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"])
        call = logged(echo_portal, reply)
        assert (len(reply.body), call["bytes_out"], call["reason"]) == (count, count, "")


def test_a_disk_that_takes_nothing_stops_no_call_and_is_seen(echo, echo_server):
    with portal(mlflow_url=echo_server.url) as running:
        key = running.issue("alice")
        spool = Path(running.environment["DATA_DIR"]) / "spool"
        assert running.request("GET", GET_EXPERIMENT, key=key["key"]).status == 200
        assert wait_for(lambda: running.request("GET", "/health").json()["checks"]["spool"]["backlog"] == 0)
        assert running.manage("partitions").returncode == 0
        running.process.send_signal(signal.SIGHUP)  # another worker, and for it no room
        shutil.rmtree(spool)
        spool.write_bytes(b"")

        def lost() -> int:
            assert running.request("GET", GET_EXPERIMENT, key=key["key"]).status == 200
            return running.request("GET", "/health").json()["checks"]["spool"]["lost"]

        assert wait_for(lost, lambda count: count >= 1)
        health = running.request("GET", "/health")
        # MLflow's stand-in is no MLflow; what counts here is the spool.
        assert health.json()["checks"]["spool"]["status"] == "degraded"
        assert health.json()["status"] != "ok"
        assert re.search(rb"^hokusai_calls_lost_total [1-9]", running.request("GET", "/metrics").body, re.M)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "experiments/get?experiment_id=0", None),
        ("POST", "runs/search", {"experiment_ids": ["0"]}),
        ("POST", "runs/log-metric", {"run_id": RUN, "key": "loss", "value": 0.5}),
        ("POST", "runs/log-batch", {"run_id": RUN, "metrics": []}),
    ],
)
def test_a_warm_call_asks_postgresql_nothing(
    method, path, body, echo, client, monkeypatch, tmp_path, settings, django_assert_num_queries
):
    """The key and the run's owner are known, the record goes to the spool."""
    monkeypatch.setattr(cache, "UNHEARD_SECONDS", 60.0)
    monkeypatch.setattr(cache, "key_cache", cache.RowCache())
    monkeypatch.setattr(ownership, "known_owners", cache.RowCache())
    monkeypatch.setattr(recording, "calls", Spool(tmp_path / "spool"))
    settings.MLFLOW_URL = echo.url
    owner = User.objects.create(username="alice")
    _, secret = actions.issue(owner=owner, name="laptop")
    Owner.objects.create(environment="live", kind="run", name=RUN, user=owner)

    def call() -> None:
        answer = client.generic(
            method,
            f"/api/mlflow/api/2.0/mlflow/{path}",
            json.dumps(body) if body else "",
            content_type="application/json",
            headers={"Authorization": f"Bearer {secret}"},
        )
        assert answer.status_code == 200
        assert answer.getvalue()

    call()
    with django_assert_num_queries(0):
        call()
    [segment] = recording.calls.waiting()
    assert len(segment.read(START, 2**20).records) == 2
    recording.calls.close()
