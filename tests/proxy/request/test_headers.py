"""Which headers pass: as rules, and on the wire."""

import pytest

from proxy.request import headers
from tests.echo import Script
from tests.proxy.forwarding.test_forwarding import GET_EXPERIMENT, request

IDENTITY = {"user_id": "usr_1", "key_id": "key_1", "request_id": "req_1", "address": "203.0.113.9"}
ADDED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Hokusai-User-Id": "usr_1",
    "X-Hokusai-API-Key-Id": "key_1",
    "X-Request-ID": "req_1",
}
PASSED = [
    ("Accept", "application/json"),
    ("Accept-Encoding", "gzip, deflate"),
    ("Content-Type", "application/json; charset=utf-8"),
    ("Content-Encoding", "gzip"),
    ("Range", "bytes=0-99"),
    ("If-Match", '"a"'),
    ("If-None-Match", '"b"'),
    ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:38 GMT"),
    ("If-Range", '"c"'),
    ("User-Agent", "mlflow-python-client/3.17.2"),
    ("X-MLflow-Client-Version", "3.17.2"),
    ("x-mlflow-experiment-id", "7"),
    ("x-mlflow-run-id", "0af1"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("tracestate", "vendor=value"),
]
SET_BY_THE_PORTAL = {"host", "x-forwarded-for", "x-hokusai-user-id", "x-hokusai-api-key-id", "x-request-id"}
WORKSPACE = "X-MLFLOW-WORKSPACE"
HOSTILE = [
    ("Cookie", f"sessionid={'x' * 32}"),
    ("Origin", "https://evil.example"),
    ("Referer", "https://evil.example/x"),
    ("X-MLFLOW-WORKSPACE", "other"),
    ("x-mlflow-workspace", "other"),
    ("X-MLflow-User", "root"),
    ("X-Forwarded-For", "203.0.113.9"),
    ("X-FORWARDED-FOR", "203.0.113.8"),
    ("X_Forwarded_For", "203.0.113.7"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Prefix", "/evil"),
    ("X-Forwarded-Port", "1"),
    ("Forwarded", "for=203.0.113.9"),
    ("X-Real-IP", "203.0.113.9"),
    ("Via", "1.1 evil"),
    ("X-Hokusai-User-Id", "usr_forged"),
    ("x-hokusai-user-id", "usr_forged"),
    ("X-HOKUSAI-USER-ID", "usr_forged"),
    ("X_Hokusai_User_Id", "usr_forged"),
    ("X-Hokusai_User-Id", "usr_forged"),
    ("X-Hokusai-User_Id", "usr_forged"),
    ("X-Hokusai-API-Key-Id", "key_forged"),
    ("X_HOKUSAI_API_KEY_ID", "key_forged"),
    ("X-Hokusai-Is-Admin", "true"),
    ("X-Hokusai-", "true"),
    ("X-Request-ID", "req_forged"),
    ("X_Request_ID", "req_forged"),
    ("Proxy-Authorization", "Basic Zm9yZ2VkOmZvcmdlZA=="),
    ("Remote-User", "root"),
    ("SCRIPT_NAME", "/api"),
    ("Upgrade", "websocket"),
    ("TE", "trailers"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("Access-Control-Request-Method", "DELETE"),
]


def meta_name(name: str) -> str:
    name = name.upper().replace("-", "_")
    return name if name == "CONTENT_TYPE" else f"HTTP_{name}"


def test_every_header_on_the_list_goes_to_the_upstream():
    meta = {meta_name(name): value for name, value in PASSED}

    assert headers.to_upstream(meta, **IDENTITY, length=12) == dict(PASSED) | ADDED | {"Content-Length": "12"}


@pytest.mark.parametrize(("name", "value"), HOSTILE)
def test_no_other_header_goes_to_the_upstream(name, value):
    assert headers.to_upstream({meta_name(name): value}, **IDENTITY, length=None) == ADDED


def test_a_caller_without_an_address_is_still_not_a_local_one():
    given = headers.to_upstream({}, **IDENTITY | {"address": ""}, length=None)

    assert given["X-Forwarded-For"] == "0.0.0.0"


UPSTREAM = "http://10.0.0.7:5000/base"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("http://10.0.0.7:5000/base/api/2.0/x?a=%2f", "/api/mlflow/api/2.0/x?a=%2f"),
        ("https://10.0.0.7:5000/base/api/2.0/x", "/api/mlflow/api/2.0/x"),
        ("//10.0.0.7:5000/base/x", "/api/mlflow/x"),
        ("/base/x", "/api/mlflow/x"),
        ("x/y?z=1", "x/y?z=1"),
        ("http://10.0.0.8:5000/base/x", ""),
        ("https://internal.example/", ""),
        ("http://10.0.0.7:5000", ""),
        ("javascript:alert(1)", ""),
        ("mailto:root@internal", ""),
    ],
)
def test_a_redirect_points_into_the_portal_or_nowhere(given, shown):
    assert headers.location(given, upstream=UPSTREAM, mount="/api/mlflow") == shown


def test_a_base_path_is_not_cut_out_of_a_longer_name():
    assert headers.location("/baseline/x", upstream=UPSTREAM, mount="/mlflow") == "/mlflow/baseline/x"


ANSWERED = [
    ("Content-Type", "application/json"),
    ("ETag", '"a"'),
    ("Cache-Control", "private, no-store"),
    ("Content-Disposition", "attachment; filename=x"),
]
KEPT_BACK = [
    ("Set-Cookie", "session=1"),
    ("Set-Cookie", "other=2"),
    ("Set-Cookie2", "old=3"),
    ("Server", "uvicorn"),
    ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("WWW-Authenticate", "Basic realm=mlflow"),
    ("Access-Control-Allow-Origin", "*"),
    ("access-control-allow-credentials", "true"),
    ("X-Request-ID", "req_upstream"),
    ("X-Hokusai-User-Id", "usr_upstream"),
    ("X-Forwarded-For", "10.0.0.7"),
    ("Via", "1.1 internal"),
    ("Alt-Svc", 'h3=":443"'),
    ("Keep-Alive", "timeout=5"),
    ("Upgrade", "h2c"),
    ("Trailer", "X-Sum"),
    ("X-Hop", "1"),
    ("Connection", "keep-alive, X-Hop"),
]


def test_the_caller_gets_what_concerns_him():
    assert headers.to_caller([*ANSWERED, *KEPT_BACK], upstream=UPSTREAM, mount="") == ANSWERED


@pytest.mark.postgresql
class TestOnTheWire:
    def test_the_list_arrives_each_header_once(self, echo, echo_portal, echo_key):
        echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"], headers=PASSED)

        for name, value in PASSED:
            assert echo.last.values(name) == [value]
        assert echo.last.names == {name.lower() for name, _ in PASSED} | SET_BY_THE_PORTAL

    def test_nothing_else_arrives_and_the_identity_is_ours_alone(self, echo, echo_portal, echo_key):
        others = [pair for pair in HOSTILE if pair[0].lower() != WORKSPACE.lower()]
        twice = [*others, *others, (WORKSPACE, "shared")]
        reply = echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"], headers=twice)

        assert reply.status == 200
        assert reply.headers["Set-Cookie"] is None
        assert echo.last.names == SET_BY_THE_PORTAL
        assert echo.last.values("X-Hokusai-User-Id") == [echo_key["user_id"]]
        assert echo.last.values("X-Hokusai-API-Key-Id") == [echo_key["id"]]
        assert echo.last.values("X-Request-ID") == [reply.headers["X-Request-ID"]]
        assert echo.last.values("X-Forwarded-For") == ["127.0.0.1"]
        assert echo.last.values("Host") == [f"127.0.0.1:{echo.server_port}"]

    @pytest.mark.parametrize("count", [1, 2])
    def test_another_organisation_in_a_header_is_refused(self, count, echo, echo_portal, echo_key):
        named = [(WORKSPACE, "other")] * count
        reply = echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"], headers=named)

        assert (reply.status, echo.arriving) == (403, [])

    @pytest.mark.parametrize("name", ["Connection", "connection"])
    def test_naming_them_hop_by_hop_takes_our_headers_from_no_one(self, name, echo, echo_portal, echo_key):
        named = (name, "close, X-Hokusai-User-Id, X-Forwarded-For, Host")
        echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"], headers=[named])

        assert echo.last.values("X-Hokusai-User-Id") == [echo_key["user_id"]]
        assert echo.last.values("X-Forwarded-For") == ["127.0.0.1"]

    def test_the_credential_stays_here(self, echo, echo_portal, echo_key):
        both = [("X-API-Key", echo_key["key"])]
        assert echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"], headers=both).status == 200

        assert not echo.last.names & {"authorization", "x-api-key"}
        assert echo_key["key"][8:34] not in str(echo.last)

    def test_behind_a_proxy_of_ours_its_word_on_the_caller_counts_and_no_other(
        self, echo, second_portal, second_key
    ):
        claims = [("X-Forwarded-For", "203.0.113.9, 198.51.100.7")]
        reply = second_portal.request("GET", GET_EXPERIMENT, key=second_key["key"], headers=claims)

        assert echo.last.values("X-Forwarded-For") == ["198.51.100.7"]
        [call] = second_portal.calls(request_id=reply.headers["X-Request-ID"])
        assert str(call["address"]) == "198.51.100.7"

    def test_the_upstreams_own_name_and_credential_are_ours_to_set(self, echo, second_portal, second_key):
        second_portal.request("GET", GET_EXPERIMENT, key=second_key["key"])

        assert echo.last.values("Host") == ["mlflow.internal"]
        assert echo.last.values("Authorization") == ["Bearer upstream-credential"]

    def test_the_answers_headers_come_back_without_what_is_mlflows_own(self, echo, echo_portal, echo_key):
        kept_back = [pair for pair in KEPT_BACK if pair[0] not in ("Connection", "X-Hop")]
        echo.script = Script(headers=[*ANSWERED, *kept_back], body=b"{}")
        reply = echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"])

        for name, value in ANSWERED:
            assert reply.headers.get_all(name) == [value]
        for name, value in kept_back:
            assert value not in (reply.headers.get_all(name) or []), name
        assert not reply.headers.get_all("Set-Cookie")
        assert len(reply.headers.get_all("X-Request-ID")) == 1

    def test_a_redirect_elsewhere_has_no_address(self, echo, echo_portal, echo_key):
        echo.script = Script(
            status=302, headers=[("Location", "http://10.0.0.8/x"), ("Content-Location", "http://a/")]
        )
        reply = echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"])

        assert reply.status == 302
        assert not reply.headers.get_all("Location")
        assert not reply.headers.get_all("Content-Location")

    @pytest.mark.parametrize(
        ("method", "target", "status"),
        [
            ("GET", GET_EXPERIMENT, 200),
            ("GET", "/api/mlflow/api/2.0/nothing", 404),
            ("GET", "/nothing", 404),
            ("GET", "/api/mlflow/a//b", 400),
            ("GET", "/health/live", 200),
            ("GET", "/", 200),
        ],
    )
    def test_every_answer_has_an_id_of_its_own(self, method, target, status, echo, echo_portal, echo_key):
        forged = [("X-Request-ID", "req_forged")]
        replies = [echo_portal.request(method, target, key=echo_key["key"], headers=forged) for _ in range(2)]

        assert [reply.status for reply in replies] == [status, status]
        ids = [value for reply in replies for value in reply.headers.get_all("X-Request-ID")]
        assert len(set(ids)) == len(ids) == 2
        assert all(value.startswith("req_") and value != "req_forged" for value in ids)

    def test_an_unknown_host_is_refused_with_an_id(self, echo, echo_portal, echo_key):
        head = request("GET", GET_EXPERIMENT, echo_key).replace(b"Host: 127.0.0.1", b"Host: evil.example")
        reply = echo_portal.exchange(head)

        assert reply.status == 400
        assert reply.headers["X-Request-ID"]
        assert not echo.received
