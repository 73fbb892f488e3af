"""An MLflow that is away is left alone until it answers again."""

import threading
import time

import pytest

from keys.refusals import Refusal
from portal.one_machine.ports import free_port
from proxy.upstream import breaker as module
from proxy.upstream.breaker import FAILURES, Breaker
from tests.chaos.callers import Caller, calling
from tests.clock import Clock
from tests.echo import EchoServer, Script
from tests.portals import Portal, portal, wait_for
from tests.proxy.forwarding.test_forwarding import GET_EXPERIMENT, UPLOAD, request
from tests.proxy.forwarding.test_streaming import restarted


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def back() -> threading.Event:
    """Set when the upstream answers again."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def breaker(clock, back, monkeypatch) -> Breaker:
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.02)

    def probe() -> None:
        if not back.is_set():
            raise OSError("away")

    made = Breaker("live", probe, clock=clock)
    yield made
    back.set()
    made.close()


def fail(breaker: Breaker, clock: Clock, times: int) -> None:
    for _ in range(times):
        clock.now += 1
        breaker.fail(clock.now)


def test_it_opens_after_failures_in_a_row_and_closes_by_itself(breaker, clock, back):
    fail(breaker, clock, FAILURES - 1)
    breaker.check()
    fail(breaker, clock, 1)

    with pytest.raises(Refusal) as caught:
        breaker.check()
    assert (caught.value.status, caught.value.error_code) == (429, "TEMPORARILY_UNAVAILABLE")
    assert 0 < int(caught.value.headers["Retry-After"]) <= 30
    back.set()
    assert wait_for(lambda: not breaker.is_open)
    breaker.check()
    fail(breaker, clock, FAILURES - 1)
    breaker.check()


def test_callers_are_asked_to_wait_as_long_as_mlflow_has_been_away(breaker, clock):
    assert breaker.retry_seconds == 2
    fail(breaker, clock, FAILURES)
    began = clock.now - FAILURES + 1
    for away, seconds in ((FAILURES, 5), (12, 12), (500, 30)):
        clock.now = began + away
        assert breaker.retry_seconds == seconds
    breaker.succeed()
    fail(breaker, clock, 1)
    assert breaker.retry_seconds == 2


def test_an_answer_in_between_begins_the_count_anew(breaker, clock):
    for _ in range(5):
        fail(breaker, clock, FAILURES - 1)
        breaker.succeed()
    breaker.check()


def test_slow_calls_beside_calls_that_work_do_not_open_it(breaker, clock):
    """One caller's uploads time out all at once; meanwhile others were answered."""
    began = clock.now
    clock.now += 30
    breaker.succeed()
    clock.now += 30
    for _ in range(5 * FAILURES):
        breaker.fail(began)
    breaker.check()


def test_failures_that_one_callers_input_causes_do_not_open_it(breaker, clock, back):
    """MLflow responds to the portal's own probe, so that the failures are not MLflow's."""
    back.set()
    fail(breaker, clock, 5 * FAILURES)

    breaker.check()


def test_an_answer_to_anybody_closes_it_at_once(breaker, clock):
    fail(breaker, clock, FAILURES)
    breaker.succeed()
    breaker.check()


def test_many_failures_at_once_open_it_once(breaker, clock):
    clock.now = 5.0
    before = set(threading.enumerate())  # another test's may still be probing
    threads = [threading.Thread(target=breaker.fail, args=[clock.now]) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert breaker.is_open
    begun = set(threading.enumerate()) - before
    assert sum(thread.name == "breaker" for thread in begun) == 1


@pytest.mark.postgresql
class TestOnTheWire:
    def test_a_restart_under_load_gives_errors_only_while_mlflow_is_away(self, echo_portal):
        server = EchoServer()
        port = server.server_port
        with portal(mlflow_url=server.url, database=echo_portal.database) as running:
            key = running.issue("alice", "--any-owner", "--preset", "full")["key"]
            with calling([Caller(running, key, pause=0.005) for _ in range(4)]) as crowd:
                crowd.wait_until(100)
                away = time.monotonic()
                server.stop()
                before = len(crowd.seen)
                assert wait_for(lambda: any(call.status == 429 for call in crowd.seen))
                crowd.wait_until(before + 100)
                server = restarted(port)
                assert wait_for(lambda: crowd.seen[-1].status == 200, seconds=10)
                back = time.monotonic()
                crowd.wait_until(len(crowd.seen) + 200)
            server.stop()
            log = running.log.read_text()

        wrong = [call for call in crowd.seen if not away < call.started + call.seconds or call.started > back]
        assert {call.status for call in wrong} == {200}
        during = [call for call in crowd.seen if call.status != 200]
        assert {call.status for call in during} <= {429, 502}
        assert sum(call.status == 502 for call in during) <= FAILURES + 4, "429 at once, once it is open"
        assert "breaker_opened upstream=live" in log
        assert "breaker_closed upstream=live" in log

    def test_while_it_is_open_callers_hear_at_once_and_it_closes_when_mlflow_is_back(self, echo_portal):
        port = free_port()
        with portal(mlflow_url=f"http://127.0.0.1:{port}", database=echo_portal.database) as running:
            key = running.issue("alice")["key"]
            replies = [running.request("GET", GET_EXPERIMENT, key=key) for _ in range(FAILURES + 1)]

            assert [reply.status for reply in replies] == [429] * (FAILURES + 1)
            assert "was not sent there" in replies[-1].json()["message"]
            assert 0 < int(replies[-1].headers["Retry-After"]) <= 30
            [call] = running.calls(request_id=replies[-1].headers["X-Request-ID"])
            assert call["reason"] == "upstream_away"
            assert running.request("GET", "/health/mlflow").status == 503
            server = EchoServer(port)
            seen = wait_for(
                lambda: running.request("GET", GET_EXPERIMENT, key=key).status, lambda status: status == 200
            )
            server.stop()
        assert seen == 200

    def test_mlflows_own_errors_do_not_open_it(self, echo, echo_portal, echo_key):
        for status in (500, 502, 503, 504):
            echo.script = Script(status=status, body=b"{}")
            for _ in range(FAILURES):
                assert echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"]).status == status
        echo.script = None
        assert echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"]).status == 200

    def test_callers_that_break_off_do_not_open_it(self, echo, echo_portal: Portal, echo_key):
        for _ in range(2 * FAILURES):
            head = request("PUT", UPLOAD, echo_key, "Transfer-Encoding: chunked")
            assert b"HTTP/1.1 400" in echo_portal.raw(head, b"nonsense\r\n")
        assert echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"]).status == 200
