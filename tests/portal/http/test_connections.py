"""Slow and odd connections cost nobody else anything."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import psutil
import pytest

from proxy import slot_queue
from tests.echo import Script
from tests.portals import Portal, parsed, portal, wait_for
from tests.proxy.forwarding.test_forwarding import ARTIFACT, GET_EXPERIMENT, UPLOAD, request
from tests.proxy.request.test_bodies import one_answer

TARGET = f"/api/mlflow{ARTIFACT}"
BATCH = "/api/mlflow/api/2.0/mlflow/runs/log-batch"  # up to 4 MiB
TRACES = "/api/mlflow/api/3.0/mlflow/traces"  # up to MAX_JSON_BODY
SOON = 2.0  # seconds; alone it takes some milliseconds
LIVE = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
LAST = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


@contextmanager
def opened(running: Portal, count: int, start: bytes) -> Iterator[list[socket.socket]]:
    """So many connections, each with the start of a request."""
    with ExitStack() as stack:
        made = []
        for _ in range(count):
            made.append(
                stack.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=20))
            )
            made[-1].sendall(start)
        yield made


def took(running: Portal, method: str, target: str, status: int, **options) -> float:
    started = time.monotonic()
    reply = running.request(method, target, **options)
    assert reply.status == status, reply.body
    return time.monotonic() - started


def assert_well(running: Portal) -> None:
    """Health and pages answer as if nothing were."""
    for path in ("/health/live", "/health/ready", "/account/login/"):
        assert wait_for(lambda: took(running, "GET", path, 200), lambda took: took < SOON) < SOON, path  # noqa: B023


@pytest.mark.postgresql
class TestSlowSenders:
    @pytest.mark.parametrize(
        "start",
        [b"", b"G", b"GET /health/live HTTP/1.1\r\nHost: 127", LIVE + b"GET /he"],
        ids=["nothing", "a letter", "half a head", "a request and the start of another"],
    )
    def test_five_hundred_slow_heads_hold_up_nobody(self, start, echo, echo_portal, echo_key):
        with opened(echo_portal, 500, start):
            assert_well(echo_portal)
            assert took(echo_portal, "GET", GET_EXPERIMENT, 200, key=echo_key["key"]) < SOON

    def test_slow_forms_hold_up_nobody(self, echo_portal):
        head = b"POST /account/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000\r\n\r\nusername=a"
        with opened(echo_portal, 100, head):
            assert_well(echo_portal)

    def test_slow_small_calls_hold_up_nobody(self, echo, echo_portal, echo_key):
        head = request("POST", "/api/mlflow/api/2.0/mlflow/runs/search", echo_key, "Content-Length: 5000")
        with opened(echo_portal, 100, head + b"{"):
            assert_well(echo_portal)
            assert took(echo_portal, "GET", GET_EXPERIMENT, 200, key=echo_key["key"]) < SOON

    @pytest.mark.parametrize(
        "line", ["Content-Length: 65537", "Transfer-Encoding: chunked", "Expect: 100-continue"]
    )
    def test_a_page_takes_no_body_that_it_would_have_to_wait_for(self, line, echo_portal):
        head = f"POST /account/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\n{line}\r\nConnection: close\r\n\r\n"
        started = time.monotonic()
        reply = wait_for(lambda: first_final(echo_portal.raw(head.encode(), b"x=")))
        assert reply.status in (400, 413)
        assert time.monotonic() - started < 15

    def test_the_default_takes_twenty_one_slow_uploads_and_other_calls_beside_them(self, echo, echo_portal):
        """docs/limits.md says so; ten of them one key's."""
        keys = [echo_portal.issue(name, "--any-owner") for name in ("alice", "bob", "charlie")]
        with ExitStack() as stack:
            for key, count in zip(keys, (10, 10, 1), strict=True):
                head = request("PUT", UPLOAD, key, "Content-Length: 100000")
                stack.enter_context(opened(echo_portal, count, head + b"x" * 1000))
            assert wait_for(lambda: len(echo.arriving) == 21)

            with ThreadPoolExecutor() as pool:  # both wait for a slot
                other = pool.submit(took, echo_portal, "PUT", UPLOAD, 429, key=keys[2]["key"], body=b"x")
                refused = echo_portal.request("PUT", UPLOAD, key=keys[0]["key"], body=b"x")
            assert (refused.status, refused.json()["error_code"]) == (429, "TEMPORARILY_UNAVAILABLE")
            assert 1 <= int(refused.headers["Retry-After"]) <= 30
            assert "10 artifact transfers of yours" in refused.json()["message"]
            assert other.result() < slot_queue.LONGEST_WAIT + SOON
            for key in keys:
                assert took(echo_portal, "GET", GET_EXPERIMENT, 200, key=key["key"]) < SOON
            assert_well(echo_portal)
        # They are gone: the places are free again.
        again = lambda: echo_portal.request("PUT", UPLOAD, key=keys[0]["key"], body=b"x").status  # noqa: E731
        assert wait_for(again, lambda status: status == 200) == 200

    def test_one_user_with_two_keys_leaves_others_their_places(self, echo, echo_portal):
        first, second, others = (echo_portal.issue(name) for name in ("greedy", "greedy", "modest"))
        slow = [
            request("POST", BATCH, key, "Content-Length: 200000") + b"{" + b" " * 70_000
            for key in (first, second)
        ]
        asked = lambda key: echo_portal.request("GET", GET_EXPERIMENT, key=key["key"])  # noqa: E731
        # More than the 14 places: who asks takes one for a moment too, and a slow one is then refused for good.
        with opened(echo_portal, 20, slow[0]):
            assert wait_for(lambda: asked(first).status == 429, seconds=30)
            with opened(echo_portal, 14, slow[1]) as more:
                for one in more:
                    answer = one_answer(one)
                    assert (answer.status, answer.json()["error_code"]) == (429, "TEMPORARILY_UNAVAILABLE")
                    assert "14 calls of yours" in answer.json()["message"]
                assert took(echo_portal, "GET", GET_EXPERIMENT, 200, key=others["key"]) < SOON
                assert_well(echo_portal)
        assert wait_for(lambda: asked(second).status == 200, seconds=30)

    def test_slow_readers_leave_others_their_places(self, echo, echo_portal):
        echo.script = Script(size=64 * 2**20)
        key = echo_portal.issue("alice", "--any-owner")
        with opened(echo_portal, 10, request("GET", TARGET, key)):
            assert wait_for(lambda: len(echo.arriving) == 10, seconds=30)
            assert echo_portal.request("GET", TARGET, key=key["key"]).status == 429
            echo.script = None
            assert took(echo_portal, "GET", GET_EXPERIMENT, 200, key=key["key"]) < SOON
            assert_well(echo_portal)

    def test_a_caller_that_does_not_close_holds_up_nobody(self, echo_portal):
        """gunicorn would wait two seconds for each, in the loop that serves them all."""
        with opened(echo_portal, 30, LAST) as left_open:
            assert all(one_answer(one).status == 200 for one in left_open)
            assert_well(echo_portal)


BUNDLE = "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"


@contextmanager
def not_reading(running: Portal, count: int, start: bytes) -> Iterator[list[socket.socket]]:
    """So many connections that take a few kilobytes and read none of them."""
    with ExitStack() as stack:
        made = []
        for _ in range(count):
            connection = stack.enter_context(socket.socket())
            connection.settimeout(20)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", running.port))
            connection.sendall(start)
            made.append(connection)
        yield made


def connection_of(running: Portal, connection: socket.socket) -> list:
    """The portal's end of it, while it has one."""
    [worker] = psutil.Process(running.process.pid).children()
    return [end for end in worker.net_connections() if end.raddr == connection.getsockname()]


@pytest.mark.postgresql
class TestSlowReaders:
    @pytest.mark.parametrize("path", [BUNDLE, "/api/v1/schema/", "/docs/errors/"])
    def test_files_and_pages_that_nobody_reads_hold_no_thread(self, path, echo, echo_portal, echo_key):
        asks = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        last = asks.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        whole = echo_portal.request("GET", path).body
        logged = len(echo_portal.log.read_text())  # other tests use this portal too
        with not_reading(echo_portal, 50, asks + asks + last) as waiting:
            assert_well(echo_portal)
            assert took(echo_portal, "GET", GET_EXPERIMENT, 200, key=echo_key["key"]) < SOON
            received = everything(waiting[7])
        assert received.count(b"HTTP/1.1 200 OK") == 3
        if path == BUNDLE:
            assert received.count(whole) == 3
        assert "Traceback" not in echo_portal.log.read_text()[logged:]

    def test_a_file_that_nobody_reads_is_given_up(self, short_timeouts):
        asks = f"GET {BUNDLE} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        with not_reading(short_timeouts, 1, asks * 4) as [waiting]:
            assert wait_for(lambda: connection_of(short_timeouts, waiting))
            assert wait_for(lambda: not connection_of(short_timeouts, waiting))


def everything(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(2**20):
        received += piece
    return received


@pytest.fixture(scope="module")
def short_timeouts(echo_server, echo_portal) -> Iterator[Portal]:
    with portal(
        mlflow_url=echo_server.url, database=echo_portal.database, config="tests.portal.short_shares"
    ) as running:
        yield running


@pytest.mark.postgresql
class TestImpatience:
    @pytest.mark.parametrize("start", [b"GET /", LIVE[:-2], b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"])
    def test_a_request_that_does_not_come_is_told_so(self, start, short_timeouts):
        reply = short_timeouts.exchange(start)
        assert reply.status == 408
        assert reply.headers["X-Request-ID"].startswith("req_")

    def test_an_upload_that_stands_still_or_crawls_is_cut_off(self, echo, short_timeouts, echo_key):
        for pause, piece in ((30, b""), (0.1, b"x" * 100)):
            echo.reset()
            head = request("PUT", UPLOAD, echo_key, "Content-Length: 1000000")
            with socket.create_connection(("127.0.0.1", short_timeouts.port), timeout=20) as connection:
                connection.sendall(head + b"x" * 1000)
                assert wait_for(lambda: echo.arriving)
                done = threading.Event()

                def crawl() -> None:
                    try:
                        while not done.wait(pause):  # noqa: B023
                            connection.sendall(piece)  # noqa: B023
                    except OSError:
                        pass

                crawling = threading.Thread(target=crawl, daemon=True)
                crawling.start()
                assert wait_for(lambda: echo.broken, seconds=15), "the upload goes on"
                done.set()
        assert not echo.received
        [call] = short_timeouts.calls(request_id=echo.broken[-1].values("X-Request-ID")[0])
        assert (call["status"], call["reason"]) == (499, "client_gone")

    def test_refusals_of_one_user_come_later_while_others_call_and_occupy_no_thread(
        self, echo, short_timeouts, echo_key
    ):
        bob = short_timeouts.issue("bob")
        refused = request("GET", "/api/mlflow/api/2.0/mlflow/nowhere", bob)
        assert took(short_timeouts, "GET", GET_EXPERIMENT, 200, key=echo_key["key"]) < SOON
        started = time.monotonic()
        with opened(short_timeouts, 80, refused) as bobs:  # more than there are threads
            assert took(short_timeouts, "GET", GET_EXPERIMENT, 200, key=echo_key["key"]) < SOON
            bobs[-1].setblocking(False)
            with pytest.raises(BlockingIOError):
                bobs[-1].recv(1, socket.MSG_PEEK)
            bobs[-1].settimeout(20)
            assert {one_answer(one).status for one in bobs} >= {404}
            assert time.monotonic() - started > 0.5

    @pytest.mark.parametrize("framing", ["Content-Length: 10000000", "Transfer-Encoding: chunked"])
    def test_a_body_of_json_that_takes_its_time_is_refused(self, framing, echo, short_timeouts, echo_key):
        """Fast enough for a transfer; a call's place is for calls."""
        piece = b"x" * 5000 if "Length" in framing else b"1388\r\n" + b"x" * 5000 + b"\r\n"
        done = threading.Event()
        with socket.create_connection(("127.0.0.1", short_timeouts.port), timeout=20) as connection:
            connection.sendall(request("POST", TRACES, echo_key, framing) + piece)

            def crawl() -> None:
                with suppress(OSError):
                    while not done.wait(0.1):
                        connection.sendall(piece)

            started = time.monotonic()
            threading.Thread(target=crawl, daemon=True).start()
            answer = one_answer(connection)
            done.set()
        assert (answer.status, answer.json()["error_code"]) == (408, "REQUEST_TIMEOUT")
        assert 2.5 < time.monotonic() - started < 15
        assert echo.received == []
        [call] = short_timeouts.calls(request_id=answer.headers["X-Request-ID"])
        assert (call["status"], call["reason"]) == (408, "body_too_slow")

    def test_a_download_that_nobody_reads_is_cut_off(self, echo, short_timeouts, echo_key):
        echo.script = Script(size=256 * 2**20)
        with socket.create_connection(("127.0.0.1", short_timeouts.port), timeout=20) as connection:
            connection.sendall(request("GET", TARGET, echo_key))
            assert wait_for(lambda: echo.broken, seconds=15)
        [call] = short_timeouts.calls(request_id=echo.broken[-1].values("X-Request-ID")[0])
        assert call["reason"] == "cut_off"

    def test_a_slow_upload_that_moves_enough_goes_through(self, echo, short_timeouts, echo_key):
        head = request("PUT", UPLOAD, echo_key, "Content-Length: 100000")
        with socket.create_connection(("127.0.0.1", short_timeouts.port), timeout=20) as connection:
            connection.sendall(head)
            for _ in range(20):  # twice as long as it may stand still
                time.sleep(0.1)
                connection.sendall(b"x" * 5000)
            assert one_answer(connection).status == 200
        assert "Traceback" not in short_timeouts.log.read_text()


@pytest.mark.postgresql
class TestOddConnections:
    def test_headers_without_end_are_refused(self, echo_portal):
        reply = echo_portal.exchange(b"GET / HTTP/1.1\r\n" + b"X-A: " + b"a" * 140_000)
        assert (reply.status, reply.json()["error_code"]) == (431, "INVALID_PARAMETER_VALUE")

    def test_a_request_line_of_64_kib_passes_and_a_longer_one_is_told_so(self, echo, echo_portal, echo_key):
        """MLflow's client names 1,000 runs in one address."""
        path = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
        runs = "&".join(f"run_id={number:032x}" for number in range(1000)) + "&metric_key=loss"
        longest = len(b"GET  HTTP/1.1")
        for target, length, status in (
            (f"/api/mlflow{path}?{runs}", 0, 200),
            (f"/api/mlflow{path}?metric_key=", 65_536, 200),
            (f"/api/mlflow{path}?metric_key=", 65_537, 414),
            (f"/api/mlflow{path}?metric_key=", 500_000, 414),
        ):
            target += "x" * max(0, length - longest - len(target))
            reply = echo_portal.exchange(request("GET", target, echo_key))
            assert reply.status == status
            if status == 200:
                assert echo.last.target == target.removeprefix("/api/mlflow")
            else:
                assert "more than 65,536 bytes" in reply.json()["message"]

    @pytest.mark.parametrize("head", [b"GET / HTTP/1.1\nHost: a\n\n", b"\nGET / HTTP/1.1\r\n"])
    def test_lines_that_end_with_lf_alone_are_refused_at_once(self, head, echo_portal):
        assert echo_portal.exchange(head).status == 400

    @pytest.mark.parametrize(
        "asked",
        [
            ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"],
            [
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: AAAA",
            ],
        ],
        ids=["h2c", "websocket"],
    )
    def test_nothing_is_upgraded_and_what_stands_behind_is_a_request_of_its_own(
        self, asked, echo, echo_portal, echo_key
    ):
        key = [f"Authorization: Bearer {echo_key['key']}"]
        head = [f"GET {GET_EXPERIMENT} HTTP/1.1", "Host: 127.0.0.1", *key, *asked, "", ""]
        received = echo_portal.raw("\r\n".join(head).encode() + LAST)

        assert received.count(b"HTTP/1.1 200 OK\r\n") == 2
        assert b"HTTP/1.1 101" not in received
        assert echo.received[-1].values("Upgrade") == echo.received[-1].values("HTTP2-Settings") == []

    def test_what_is_not_http_is_told_so_at_once(self, echo_portal):
        started = time.monotonic()
        reply = echo_portal.exchange(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert reply.status == 400
        assert "TLS" in reply.json()["message"]
        assert time.monotonic() - started < 15

    def test_a_request_in_single_bytes_is_a_request(self, echo, echo_portal, echo_key):
        body = b'{"experiment_ids": []}'
        head = request(
            "POST", "/api/mlflow/api/2.0/mlflow/runs/search", echo_key, f"Content-Length: {len(body)}"
        )
        with socket.create_connection(("127.0.0.1", echo_portal.port), timeout=20) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for number in range(len(head + body)):
                connection.sendall((head + body)[number : number + 1])
            assert one_answer(connection).status == 200
        assert echo.last.body == body

    def test_two_thousand_idle_connections_make_room(self, echo_portal):
        """Others come and go beside more idle connections than there is room for."""
        logged = len(echo_portal.log.read_text())  # other tests use this portal too
        with opened(echo_portal, 2100, b""):
            assert_well(echo_portal)
        assert "Traceback" not in echo_portal.log.read_text()[logged:]


def first_final(received: bytes):
    """The first answer that is not an interim one."""
    while received.startswith(b"HTTP/1.1 100"):
        received = received.partition(b"\r\n\r\n")[2]
    return parsed(received)
