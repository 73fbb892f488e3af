"""The way to MLflow: what goes out, and what its failures become."""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from keys.refusals import Refusal
from portal.one_machine.ports import free_port
from proxy.upstream import client
from proxy.upstream.workspaces import Workspace
from tests.echo import EchoServer, Script
from tests.portals import portal
from tests.proxy.forwarding.test_forwarding import ARTIFACT, GET_EXPERIMENT

SHARED = Workspace("shared")

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def scripted(*connections: Callable[[socket.socket], None]) -> Iterator[str]:
    """An upstream that plays one function for each connection; yields its address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for play in connections:
            connection, _ = listener.accept()
            with connection:
                play(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        thread.join(10)
        listener.close()
    assert not thread.is_alive(), "a connection was expected that never came"


def answering(*answers: bytes) -> Callable[[socket.socket], None]:
    """Each answer to one request; then the connection is closed."""

    def play(connection: socket.socket) -> None:
        for content in answers:
            assert connection.recv(65536)
            connection.sendall(content)

    return play


def refused(url: str, method: str = "GET", **options) -> Refusal:
    with pytest.raises(Refusal) as caught:
        client.send(url, workspace=SHARED, method=method, path="/health", **options).data  # noqa: B018  reads it
    return caught.value


@pytest.fixture
def idle(monkeypatch):
    monkeypatch.setattr(client, "IDLE_TIMEOUT", 0.3)


def test_a_call_that_an_upstream_that_is_away_did_not_get_may_be_repeated():
    refusal = refused(f"http://127.0.0.1:{free_port()}", "POST", body=b"{}")

    assert (refusal.status, refusal.error_code) == (429, "TEMPORARILY_UNAVAILABLE")
    assert refusal.reason == "upstream_unreachable"
    assert 0 < int(refusal.headers["Retry-After"]) <= 30
    assert "127.0.0.1" not in refusal.message


def test_without_tls_the_call_did_not_arrive_either():
    with scripted(answering(OK)) as url:
        refusal = refused(url.replace("http:", "https:"), "POST", body=b"{}")

    assert (refusal.status, refusal.reason) == (429, "upstream_unreachable")


@pytest.mark.parametrize(
    "content", [b"SSH-2.0-OpenSSH_9.9\r\n\r\n", b"\x00\xff" * 50, b"", b"HTTP/1.1 x y\r\n\r\n"]
)
def test_an_answer_that_is_not_http_is_a_bad_gateway(content):
    with scripted(answering(content), answering(content)) as url:
        refusal = refused(url)

    assert (refusal.status, refusal.error_code) == (502, "TEMPORARILY_UNAVAILABLE")


@pytest.mark.parametrize(
    "content",
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 OK\r\nContent-Ty",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhalf or whole?",
    ],
)
def test_an_answer_that_does_not_say_where_it_ends_is_not_taken_for_whole(content):
    with scripted(answering(content)) as url:
        assert refused(url).status == 502


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"])
def test_an_upstream_that_hangs_is_a_gateway_timeout(first, idle):
    done = threading.Event()

    def hang(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(first)
        done.wait(20)

    with scripted(hang) as url:
        started = time.monotonic()
        refusal = refused(url)
        took = time.monotonic() - started
        done.set()

    assert (refusal.status, refusal.error_code) == (504, "DEADLINE_EXCEEDED")
    assert took < 5


def test_a_transfer_that_moves_takes_as_long_as_it_takes(idle):
    def trickle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            time.sleep(0.06)  # together twice the idle timeout
            connection.sendall(b"x")

    with scripted(trickle) as url:
        assert client.send(url, workspace=SHARED, method="GET", path="/health").data == b"x" * 10


@pytest.mark.parametrize(
    "content",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
def test_half_an_answer_is_an_error_and_not_an_answer(content):
    with scripted(answering(content)) as url:
        assert refused(url).status == 502


def test_a_dead_connection_is_replaced_where_that_is_safe():
    with scripted(answering(OK, b""), answering(OK)) as url:
        assert client.send(url, workspace=SHARED, method="GET", path="/health").data == b"ok"
        assert client.send(url, workspace=SHARED, method="GET", path="/health").data == b"ok"


def test_a_call_that_may_have_been_done_is_not_done_again():
    with scripted(answering(OK, b"")) as url:
        assert client.send(url, workspace=SHARED, method="GET", path="/health").data == b"ok"
        refusal = refused(url, "POST", body=b"{}")

    assert (refusal.status, refusal.reason) == (502, "upstream_broken")
    assert "may or may not" in refusal.message


def test_a_connection_is_used_again_only_after_a_whole_answer():
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
    with scripted(answering(half), answering(OK)) as url:
        answer = client.send(url, workspace=SHARED, method="GET", path="/health")
        answer.close()
        assert client.send(url, workspace=SHARED, method="GET", path="/health").data == b"ok"


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504])
def test_a_connection_is_not_used_again_after_a_server_error(status):
    def play(connection: socket.socket) -> None:
        """Closes only when another request arrives, so that nobody can tell beforehand."""
        answering(b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\nno" % status)(connection)
        connection.recv(65536)

    with scripted(play, answering(OK)) as url:
        assert client.send(url, workspace=SHARED, method="GET", path="/health").data == b"no"
        assert client.send(url, workspace=SHARED, method="POST", path="/health", body=b"{}").data == b"ok"


@pytest.mark.parametrize("status", [200, 201, 204, 301, 400, 404, 409, 429])
def test_a_connection_that_mlflow_closed_a_moment_later_is_not_used_again(status):
    closed = threading.Event()
    body = b"" if status == 204 else b"no"
    head = b"HTTP/1.1 %d Status\r\nContent-Length: %d\r\n\r\n" % (status, len(body))

    def play(connection: socket.socket) -> None:
        answering(head + body)(connection)
        connection.shutdown(socket.SHUT_WR)
        closed.set()

    with scripted(play, answering(OK)) as url:
        assert client.send(url, workspace=SHARED, method="GET", path="/health").data == body
        assert closed.wait(5)
        assert client.send(url, workspace=SHARED, method="POST", path="/health", body=b"{}").data == b"ok"


def test_bytes_that_are_left_over_reach_no_other_call():
    more = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother"
    with scripted(answering(OK + more), answering(OK)) as url:
        assert client.send(url, workspace=SHARED, method="GET", path="/health").data == b"ok"
        assert client.send(url, workspace=SHARED, method="GET", path="/health").data == b"ok"


@pytest.fixture
def server():
    running = EchoServer()
    yield running
    running.stop()


@pytest.mark.parametrize(
    ("settings_", "base", "target"),
    [
        ({}, "", "/api/2.0/x?a=%2f"),
        ({}, "/base", "/base/api/2.0/x?a=%2f"),
        ({"MLFLOW_API": "ajax-api"}, "", "/ajax-api/2.0/x?a=%2f"),
        ({"MLFLOW_STATIC_PREFIX": "/ml"}, "", "/ml/api/2.0/x?a=%2f"),
        ({"MLFLOW_API": "ajax-api", "MLFLOW_STATIC_PREFIX": "/ml"}, "/base", "/base/ml/ajax-api/2.0/x?a=%2f"),
    ],
)
def test_the_path_is_where_mlflow_has_it(settings_, base, target, server, settings):
    for name, value in settings_.items():
        setattr(settings, name, value)
    client.send(server.url + base, workspace=SHARED, method="GET", path="/api/2.0/x", query="a=%2f").data  # noqa: B018

    assert server.last.target == target


def test_the_upstreams_name_and_credential_are_those_configured(server, settings):
    settings.MLFLOW_HOST_HEADER = "mlflow.internal"
    settings.MLFLOW_AUTHORIZATION = "Bearer upstream"
    client.send(server.url, workspace=SHARED, method="GET", path="/health").data  # noqa: B018

    assert server.last.values("Host") == ["mlflow.internal"]
    assert server.last.values("Authorization") == ["Bearer upstream"]
    assert not server.last.names & {"user-agent", "accept-encoding"}


def test_a_failure_is_logged_without_headers(caplog):
    with caplog.at_level(logging.DEBUG):
        refused(f"http://127.0.0.1:{free_port()}", headers={"X-Secret": "do-not-log"})

    assert "upstream_failed" in caplog.text
    assert "do-not-log" not in caplog.text


HTML = [("Content-Type", "text/html; charset=utf-8")]
JSON = [("Content-Type", "application/json")]


@pytest.mark.postgresql
class TestOnTheWire:
    @pytest.mark.parametrize("status", [400, 403, 404, 409, 429, 500, 503])
    def test_mlflows_own_errors_pass_as_they_are(self, status, echo, echo_portal, echo_key):
        body = b'{"error_code":"RESOURCE_DOES_NOT_EXIST", "message":"No \\u201crun\\u201d"}'
        echo.script = Script(status=status, headers=JSON, body=body)
        reply = echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"])

        assert (reply.status, reply.body) == (status, body)

    @pytest.mark.parametrize(
        "words",
        [
            "(psycopg2.errors.StringDataRightTruncation) [SQL: INSERT INTO registered_models]",
            "tracking URI is currently set to postgresql+psycopg2://:5432/mlflow",
            "sqlite:////srv/mlflow.db is locked",
        ],
    )
    def test_its_databases_words_do_not(self, words, echo, echo_portal, echo_key):
        body = json.dumps({"error_code": "BAD_REQUEST", "message": words}).encode()
        echo.script = Script(status=400, headers=JSON, body=body)
        reply = echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"])

        assert (reply.status, reply.json()["error_code"]) == (400, "BAD_REQUEST")
        assert words not in reply.json()["message"]
        assert "too long" in reply.json()["message"]
        [call] = echo_portal.calls(request_id=reply.headers["X-Request-ID"])
        assert (call["status"], call["reason"]) == (400, "upstream_error")

    @pytest.mark.parametrize(
        ("status", "error_code"),
        [(404, "ENDPOINT_NOT_FOUND"), (500, "INTERNAL_ERROR"), (405, None), (413, None)],
    )
    def test_mlflows_pages_become_json_of_the_same_status(
        self, status, error_code, echo, echo_portal, echo_key
    ):
        echo.script = Script(status=status, headers=HTML, body=b"<h1>at http://10.0.0.7:5000</h1>")
        reply = echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"])

        assert reply.status == status
        assert reply.headers["Content-Type"] == "application/json"
        assert b"10.0.0.7" not in reply.body
        assert reply.json()["request_id"] == reply.headers["X-Request-ID"]
        assert error_code in (None, reply.json()["error_code"])

    @pytest.mark.parametrize("status", [401, 407])
    def test_mlflow_refusing_the_portal_is_not_the_callers_fault(self, status, echo, echo_portal, echo_key):
        challenge = ("WWW-Authenticate", 'Basic realm="mlflow"')
        echo.script = Script(status=status, headers=[challenge, *HTML], body=b"You are not authenticated")
        reply = echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"])

        assert (reply.status, reply.json()["error_code"]) == (502, "TEMPORARILY_UNAVAILABLE")
        assert reply.headers["WWW-Authenticate"] is None
        assert "Your key is valid" in reply.json()["message"]

    def test_a_range_comes_back_as_one(self, echo, echo_portal, echo_key):
        headers = [("Content-Range", "bytes 2-4/10"), ("Accept-Ranges", "bytes")]
        echo.script = Script(status=206, headers=headers, body=b"cde")
        reply = echo_portal.request(
            "GET", f"/api/mlflow{ARTIFACT}", key=echo_key["key"], headers=[("Range", "bytes=2-4")]
        )

        assert echo.last.values("Range") == ["bytes=2-4"]
        assert (reply.status, reply.body) == (206, b"cde")
        assert reply.headers["Content-Range"] == "bytes 2-4/10"
        assert reply.headers["Content-Length"] == "3"

    def test_not_modified_and_no_content_have_no_body(self, echo, echo_portal, echo_key):
        for status, headers in ((304, [("ETag", '"a"')]), (204, [])):
            echo.script = Script(status=status, headers=headers)
            reply = echo_portal.request(
                "GET", f"/api/mlflow{ARTIFACT}", key=echo_key["key"], headers=[("If-None-Match", '"a"')]
            )
            assert (reply.status, reply.body) == (status, b"")
            assert reply.headers["ETag"] == dict(headers).get("ETag")
            assert echo.last.values("If-None-Match") == ['"a"']
            [call] = echo_portal.calls(request_id=reply.headers["X-Request-ID"])
            assert call["status"] == status

    def test_an_mlflow_that_answers_nonsense_is_a_bad_gateway(self, echo, echo_portal, echo_key):
        for raw in (b"", b"nonsense\r\n\r\n"):
            echo.script = Script(raw=raw)
            reply = echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"])
            assert (reply.status, reply.json()["error_code"]) == (502, "TEMPORARILY_UNAVAILABLE")
            assert str(echo.server_port) not in json.dumps(reply.json()["message"])

    def test_an_mlflow_that_is_away_did_not_get_the_call_and_the_portal_runs_on(self, echo_portal, echo_key):
        port = free_port()
        with portal(mlflow_url=f"http://127.0.0.1:{port}", database=echo_portal.database) as running:
            reply = running.request("GET", GET_EXPERIMENT, key=echo_key["key"])
            assert (reply.status, reply.json()["error_code"]) == (429, "TEMPORARILY_UNAVAILABLE")
            assert 0 < int(reply.headers["Retry-After"]) <= 30
            assert str(port) not in reply.json()["message"]
            [call] = running.calls(request_id=reply.headers["X-Request-ID"])
            assert (call["status"], call["reason"]) == (429, "upstream_unreachable")
            server = EchoServer(port)
            assert running.request("GET", GET_EXPERIMENT, key=echo_key["key"]).status == 200
            server.stop()
