"""Which addresses of the portal lead where at MLflow, and which lead nowhere."""

import pytest

from tests.echo import Script
from tests.proxy.forwarding.test_forwarding import ARTIFACT, GET_EXPERIMENT, MOUNTS, UPLOAD, request

pytestmark = pytest.mark.postgresql


def test_a_call_with_a_key_is_forwarded_and_recorded(echo, echo_portal, echo_key):
    reply = echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"])

    assert reply.status == 200
    assert echo.last.target == "/api/2.0/mlflow/experiments/get?experiment_id=0"
    [call] = echo_portal.calls(request_id=reply.headers["X-Request-ID"])
    assert (call["operation"], call["status"]) == ("experiments.get", 200)


@pytest.mark.parametrize(("target", "upstream"), MOUNTS)
def test_each_mount_reaches_mlflow(target, upstream, echo, echo_portal, echo_key):
    reply = echo_portal.request("GET", target, key=echo_key["key"])

    assert (reply.status, echo.last.target) == (200, upstream)


@pytest.mark.parametrize("version", ["2.0", "3.0"])
def test_the_ajax_mount_reaches_the_standard_path(version, echo, echo_portal, echo_key):
    path = {"2.0": "2.0/mlflow/experiments/get", "3.0": "3.0/mlflow/scorers/list"}[version]
    for prefix in ("/mlflow", "/api/mlflow", ""):
        reply = echo_portal.request("GET", f"{prefix}/ajax-api/{path}", key=echo_key["key"])
        assert (reply.status, echo.last.target) == (200, f"/api/{path}")


def test_otlp_spans_pass_as_they_are(echo, echo_portal, echo_key):
    # One span (trace_id, span_id, name), its fields in an order that no encoder writes.
    span = b"\x2a\x04name" + b"\x12\x08" + b"\x02" * 8 + b"\x0a\x10" + b"\x01" * 16
    for _ in range(2):
        span = b"\x12" + bytes([len(span)]) + span
    spans = b"\x0a" + bytes([len(span)]) + span
    for prefix in ("", "/api/mlflow", "/mlflow"):
        headers = [("Content-Type", "application/x-protobuf"), ("x-mlflow-experiment-id", "7")]
        reply = echo_portal.request(
            "POST", f"{prefix}/v1/traces", key=echo_key["key"], body=spans, headers=headers
        )
        assert (reply.status, echo.last.target, echo.last.body) == (200, "/v1/traces", spans)
        assert echo.last.values("x-mlflow-experiment-id") == ["7"]
        assert echo.last.values("Content-Type") == ["application/x-protobuf"]


def test_the_links_that_mlflows_client_prints_lead_to_the_pages(echo, echo_portal):
    for target in ("/api/mlflow/", "/api/mlflow"):
        reply = echo_portal.request("GET", target, headers=[("Accept", "text/html,*/*")])
        assert (reply.status, reply.headers["Location"]) == (302, "/mlflow/")
    reply = echo_portal.request("GET", "/mlflow/", headers=[("Accept", "text/html,*/*")])
    assert reply.status == 302
    assert "login" in reply.headers["Location"]
    assert not echo.received


def test_a_program_without_a_key_is_not_sent_to_sign_in(echo, echo_portal):
    for target in ("/mlflow/", "/api/mlflow/", "/mlflow"):
        reply = echo_portal.request("GET", target, headers=[("Accept", "application/json")])
        assert (reply.status, reply.json()["error_code"]) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "GETS"])
def test_a_method_that_mlflow_does_not_serve_never_reaches_it(method, echo, echo_portal, echo_key):
    reply = echo_portal.request(method, GET_EXPERIMENT, key=echo_key["key"])

    assert reply.status in (400, 404)
    assert not echo.arriving
    if method != "HEAD":
        assert reply.json()["error_code"] == "ENDPOINT_NOT_FOUND"


@pytest.mark.parametrize("method", ["get", "Get", "G ET", "GET\tx"])
def test_a_misspelt_method_never_reaches_mlflow(method, echo, echo_portal, echo_key):
    reply = echo_portal.exchange(request(method, GET_EXPERIMENT, echo_key))

    assert reply.status == 400
    assert not echo.arriving


@pytest.mark.parametrize("prefix", ["/api/mlflow", "/mlflow", ""])
def test_what_is_not_a_route_of_mlflows_is_not_found(prefix, echo, echo_portal, echo_key):
    for path in (
        "/api/2.0/mlflow/experiments/erase",
        "/api/2.0/mlflow/experiments/get/",
        "/api/4.0/mlflow/runs",
    ):
        reply = echo_portal.request("GET", prefix + path, key=echo_key["key"])
        assert (reply.status, reply.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
    assert not echo.received


def test_a_test_key_needs_a_test_registry(echo, echo_portal, settings):
    settings.MLFLOW_TEST_URL = (
        "http://127.0.0.1:9"  # of the command that issues the key, as before an operator unset it
    )
    key = echo_portal.issue("alice", "--environment", "test")

    reply = echo_portal.request("GET", GET_EXPERIMENT, key=key["key"])

    assert (reply.status, reply.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert "MLFLOW_TEST_URL" in reply.json()["message"]
    assert not echo.received
    assert echo_portal.calls(reason="no_test_registry", status=403)


def test_a_test_key_goes_to_the_test_registry_and_a_live_one_does_not(
    echo, second_portal, other_echo, settings
):
    settings.MLFLOW_TEST_URL = second_portal.environment["MLFLOW_TEST_URL"]
    live, test = (second_portal.issue("bob", "--environment", name) for name in ("live", "test"))

    assert second_portal.request("GET", GET_EXPERIMENT, key=test["key"]).status == 200
    assert (len(other_echo.received), len(echo.received)) == (1, 0)
    assert second_portal.request("GET", GET_EXPERIMENT, key=live["key"]).status == 200
    assert (len(other_echo.received), len(echo.received)) == (1, 1)


def test_downloads_count_as_reads_and_uploads_as_writes(echo, echo_portal, echo_key):
    for method, operation in (("GET", "artifacts.download"), ("PUT", "artifacts.upload")):
        body = b"x" if method == "PUT" else None
        target = UPLOAD if method == "PUT" else f"/api/mlflow{ARTIFACT}"
        reply = echo_portal.request(method, target, key=echo_key["key"], body=body)
        [call] = echo_portal.calls(request_id=reply.headers["X-Request-ID"])
        assert call["operation"] == operation


def test_mlflows_shortcuts_around_the_portal_are_turned_off(echo, echo_portal, echo_key):
    """A flag that only a later release knows is left out."""
    content = b'{"multipart_uploads_enabled": true, "new_shortcut": true, "store_type": "SqlStore"}'
    echo.script = Script(headers=[("Content-Type", "application/json")], body=content)

    reply = echo_portal.request("GET", "/api/mlflow/api/3.0/mlflow/server-info", key=echo_key["key"])

    assert reply.json() == {
        "multipart_uploads_enabled": False,
        "store_type": "SqlStore",
    }
    assert reply.headers.get_all("Content-Length") == [str(len(reply.body))]
