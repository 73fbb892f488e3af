"""Forwarding against an upstream that echoes what it gets, through the portal as it is run.

The checks are the failures of the system that this one replaces, by their numbers in its list. Each passes
here, and fails on django-revproxy's view as it comes.
"""

import base64
import gzip
import http.client
import select
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.echo import EchoServer, Script
from tests.portals import Portal, wait_for
from tests.proxy.plain import plain_portal
from tests.proxy.request.variants import escaped

pytestmark = pytest.mark.postgresql

GET_EXPERIMENT = "/api/mlflow/api/2.0/mlflow/experiments/get?experiment_id=0"
ARTIFACT = "/api/2.0/mlflow-artifacts/artifacts/0/run/artifacts/model.bin"
# Other files than those that tests download: a download must be what was uploaded (proxy/provenance/downloads.py).
UPLOAD = "/api/mlflow/api/2.0/mlflow-artifacts/artifacts/0/run/artifacts/uploaded.bin"
MOUNTED = [
    ("/api/2.0/mlflow/experiments/get", "/api/2.0/mlflow/experiments/get"),
    ("/api/3.0/mlflow/datasets/search", "/api/3.0/mlflow/datasets/search"),
    (ARTIFACT, ARTIFACT),
    ("/version", "/version"),
]
# Where in the portal → where at MLflow.
MOUNTS = [
    *((prefix + path, upstream) for prefix in ("/api/mlflow", "/mlflow", "") for path, upstream in MOUNTED),
    ("/api/mlflow/health", "/health"),
    ("/mlflow/health", "/health"),
    ("/api/mlflow/graphql", "/graphql"),
    ("/mlflow/graphql", "/graphql"),
]


@dataclass(frozen=True, kw_only=True)
class Check:
    """What must hold; `number` is the failure's, `fails_plain` whether ProxyView as it comes has it too."""

    number: int
    run: Callable[[Portal, EchoServer, dict], None]
    fails_plain: bool = True

    def __str__(self) -> str:
        return f"{self.number}-{self.run.__name__}"


CHECKS: list[Check] = []


def check(number: int, *, fails_plain: bool = True):
    def register(run):
        CHECKS.append(Check(number=number, run=run, fails_plain=fails_plain))
        return run

    return register


@check(1)
def health_is_answered_before_the_catch_all(portal, echo, key):
    for path in ("/mlflow/health/mlflow", "/api/mlflow/health/mlflow", "/api/health/mlflow"):
        reply = portal.request("GET", path)
        assert reply.status == 200
        assert reply.json()["checks"]["mlflow"]["status"] == "ok"
        assert echo.last.target == "/health"


@check(2)
def bodies_of_delete_arrive_sized_or_chunked(portal, echo, key):
    # ProxyView forwards a sized one, and drops it when it is chunked.
    target = "/api/mlflow/api/2.0/mlflow/registered-models/delete"
    body = b'{"name": "m\xc3\xb6del"}'
    portal.request(
        "DELETE", target, key=key["key"], body=body, headers=[("Content-Type", "application/json")]
    )
    assert (echo.last.method, echo.last.body) == ("DELETE", body)
    portal.exchange(
        request("DELETE", target, key, "Transfer-Encoding: chunked", "Content-Type: application/json"),
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
    )
    assert len(echo.received) == 2
    assert (echo.last.method, echo.last.body) == ("DELETE", body)


@check(3)
def repeated_query_keys_keep_their_number_and_order(portal, echo, key):
    query = "run_ids=a&max=1&run_ids=b&run_ids=a"
    portal.request("GET", f"/api/mlflow/api/2.0/mlflow/experiments/search?{query}", key=key["key"])
    assert echo.last.target.partition("?")[2] == query


@check(4)
def only_our_identity_headers_arrive(portal, echo, key):
    forged = [("X-Hokusai-User-Id", "usr_forged"), ("x-hokusai-api-key-id", "key_forged")]
    portal.request("GET", GET_EXPERIMENT, key=key["key"], headers=forged)
    assert echo.last.values("X-Hokusai-User-Id") == [key["user_id"]]
    assert echo.last.values("X-Hokusai-API-Key-Id") == [key["id"]]


@check(5)
def a_compressed_answer_passes_as_it_is(portal, echo, key):
    # ProxyView never gets one: it does not tell the upstream that the caller could read it.
    body = gzip.compress(b"artifact" * 1000)
    echo.script = Script(headers=[("Content-Encoding", "gzip"), ("Content-Type", "text/plain")], body=body)
    reply = portal.request("GET", GET_EXPERIMENT, key=key["key"], headers=[("Accept-Encoding", "gzip, br")])
    assert reply.body == body
    assert reply.headers.get_all("Content-Encoding") == ["gzip"]
    assert reply.headers.get_all("Content-Length") == [str(len(body))]
    assert echo.last.values("Accept-Encoding") == ["gzip, br"]


@check(6)
def no_encoding_of_dots_climbs_out_of_the_prefix(portal, echo, key):
    up = escaped("..")
    for climb in (
        f"{up}/{up}/metrics",
        f"api/2.0/mlflow/{up[:3]}./{up}/{up}/metrics",
        escaped("../../") + "metrics",
    ):
        reply = portal.request("GET", f"/api/mlflow/{climb}", key=key["key"])
        assert not echo.received
        assert (reply.status, reply.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


@check(7)
def options_needs_a_key_too(portal, echo, key):
    reply = portal.request("OPTIONS", GET_EXPERIMENT)
    assert not echo.received
    assert reply.status == 401


@check(8)
def a_key_in_the_query_is_neither_forwarded_nor_logged(portal, echo, key):
    secret = key["key"]
    for query in (
        f"api_key={secret}",
        f"api%5Fkey={secret}",
        f"x={secret.replace('_', '%5f')}",
        "api_key=guess",
    ):
        reply = portal.request("GET", f"{GET_EXPERIMENT}&{query}", key=secret)
        assert not echo.received
        assert (reply.status, reply.json()["error_code"]) == (401, "UNAUTHENTICATED")
        assert "URL" in reply.json()["message"]
        assert secret.encode() not in reply.body
    assert secret[8:34] not in portal.log.read_text()


@check(9)
def the_bare_host_serves_artifacts_and_calls(portal, echo, key):
    for target in (ARTIFACT, "/api/2.0/mlflow/experiments/get", "/api/3.0/mlflow/server-info"):
        reply = portal.request("GET", target, key=key["key"])
        assert reply.status == 200
        assert echo.last.target == target


@check(10)
def redirects_point_into_the_portal(portal, echo, key):
    for location in (f"{echo.url}/api/2.0/mlflow/runs/get?run_id=1", "/api/2.0/mlflow/runs/get?run_id=1"):
        echo.script = Script(status=308, headers=[("Location", location)])
        for mount in ("/api/mlflow", "/mlflow"):
            reply = portal.request("GET", f"{mount}/api/2.0/mlflow/experiments/get", key=key["key"])
            assert reply.status == 308
            assert reply.headers.get_all("Location") == [f"{mount}/api/2.0/mlflow/runs/get?run_id=1"]


@check(11)
def every_form_of_a_credential_is_the_same_key(portal, echo, key):
    # Not ProxyView's failure but our predecessor's; ProxyView knows no keys at all.
    for credential in credentials(key["key"]):
        reply = portal.request("GET", GET_EXPERIMENT, headers=[credential])
        assert reply.status == 200, credential[0]
        assert echo.last.values("X-Hokusai-API-Key-Id") == [key["id"]]
        assert not echo.last.names & {"authorization", "x-api-key"}


@check(12)
def the_upstream_sees_the_callers_address_and_no_claim(portal, echo, key):
    claims = [("X-Forwarded-For", "203.0.113.9, 198.51.100.7"), ("X-Real-IP", "203.0.113.9")]
    portal.request("GET", GET_EXPERIMENT, key=key["key"], headers=[*claims, ("Forwarded", "for=203.0.113.9")])
    assert echo.last.values("X-Forwarded-For") == ["127.0.0.1"]
    assert not echo.last.names & {"x-real-ip", "forwarded"}


@check(13)
def an_upload_is_not_held_back_until_it_is_whole(portal, echo, key):
    size = 4 * 2**20
    with socket.create_connection(("127.0.0.1", portal.port), timeout=20) as connection:
        connection.sendall(request("PUT", UPLOAD, key, f"Content-Length: {size}"))
        connection.sendall(bytes(size // 2))
        wait_for(lambda: arrived(echo) >= size // 4 or select.select([connection], [], [], 0)[0], seconds=5)
        assert arrived(echo) >= size // 4, "nothing arrives before the last byte is sent"
        connection.sendall(bytes(size // 2))
        assert connection.recv(12) == b"HTTP/1.1 200"
    assert echo.last.length == size


@check(14)
def a_path_that_looks_like_a_search_creates_nothing(portal, echo, key):
    target = "/api/mlflow/api/2.0/mlflow/experiments/search/../../registered-models/create"
    reply = portal.request("POST", target, key=key["key"], body={"name": "m"})
    assert not echo.received
    assert reply.status == 400


@check(20)
def connections_are_kept_and_used_again(portal, echo, key):
    # ProxyView's pool keeps one connection, however many calls come at the same time.
    together = 6

    def call(_):
        return portal.request("GET", GET_EXPERIMENT, key=key["key"]).status

    with ThreadPoolExecutor(together) as pool:
        echo.script = Script(barrier=threading.Barrier(together))
        assert set(pool.map(call, range(together))) == {200}
        before = echo.connections
        assert set(pool.map(call, range(together))) == {200}
    assert echo.connections == before


@check(21)
def liveness_touches_nothing_else(portal, echo, key):
    reply = portal.request("GET", "/health/live")
    assert (reply.status, reply.json()) == (200, {"status": "ok"})
    assert not echo.received


@check(22)
def the_upstream_is_addressed_by_its_own_name(portal, echo, key):
    # ProxyView drops the caller's Host, but passes what some servers take in its place.
    portal.request("GET", GET_EXPERIMENT, key=key["key"], headers=[("X-Forwarded-Host", "evil.example")])
    assert echo.last.values("Host") == [f"127.0.0.1:{echo.server_port}"]
    assert "x-forwarded-host" not in echo.last.names


@check(23)
def every_mount_reaches_the_same_path(portal, echo, key):
    for target, upstream in MOUNTS:
        reply = portal.request("GET", f"{target}?a=1", key=key["key"])
        assert (reply.status, echo.last.target) == (200, f"{upstream}?a=1"), target


def arrived(echo: EchoServer) -> int:
    """Bytes of bodies so far."""
    return sum(received.length for received in echo.arriving)


def request(method: str, target: str, key: dict | None, *lines: str) -> bytes:
    """A request's head as bytes; the connection ends with its answer."""
    credential = [f"Authorization: Bearer {key['key']}"] if key else []
    head = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *credential, *lines]
    return "\r\n".join([*head, "", ""]).encode("latin-1")


def credentials(secret: str) -> list[tuple[str, str]]:
    """Every form in which a key may be sent."""
    basic = [
        base64.b64encode(f"{name}:{secret}".encode()).decode() for name in ("token", "", "ada@example.org")
    ]
    return [
        *(
            ("Authorization", f"{scheme} {secret}")
            for scheme in ("Bearer", "bearer", "BEARER", "ApiKey", "apikey")
        ),
        *(("Authorization", f"{scheme} {value}") for scheme in ("Basic", "basic") for value in basic),
        ("Authorization", f"Bearer   {secret}"),
        ("X-API-Key", secret),
        ("x-api-key", secret),
    ]


@pytest.fixture(scope="module")
def plain(echo_server):
    with plain_portal(upstream=echo_server.url) as running:
        yield running


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_the_portal_has_none_of_the_old_failures(check, echo, echo_portal, echo_key):
    check.run(echo_portal, echo, echo_key)


@pytest.mark.parametrize("check", [check for check in CHECKS if check.fails_plain], ids=str)
def test_a_plain_proxy_view_has_each_of_them(check, echo, plain, echo_key):
    with pytest.raises((AssertionError, OSError, http.client.HTTPException, ValueError, LookupError)):
        check.run(plain, echo, echo_key)
