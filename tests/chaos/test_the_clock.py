"""The clock of the portal's machine is moved by a day, forward and back, while it is called."""

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.chaos.callers import READ, Caller, calling
from tests.portals import Portal, Reply, portal, wait_for

pytestmark = pytest.mark.postgresql

DAY, HOUR = 86_400, 3600
LIMIT = 30  # calls a minute


@pytest.fixture(scope="module")
def running(echo_server, echo_portal) -> Iterator[Portal]:
    echo_server.reset()
    with portal(
        mlflow_url=echo_server.url, database=echo_portal.database, config="tests.chaos.moved_clock"
    ) as started:
        yield started


def move(running: Portal, seconds: int) -> None:
    """Return once the portal has the new time."""
    folder = Path(running.environment["DATA_DIR"])
    (folder / "clock.new").write_text(str(seconds))
    (folder / "clock.new").rename(folder / "clock")
    assert wait_for(lambda: abs(time_at(running) - time.time() - seconds) < HOUR), "the clock was not moved"


def time_at(running: Portal) -> float:
    return parsedate_to_datetime(running.request("GET", "/health/live").headers["Date"]).timestamp()


def read(running: Portal, key: str) -> Reply:
    return running.request("GET", READ[1], key=key)


def test_the_clock_is_moved(running):
    key = running.issue("alice", "--any-owner", "--preset", "full")["key"]
    limited = running.issue("bob", "--requests-per-minute", str(LIMIT))["key"]
    started = time.monotonic()
    used_up = [read(running, limited) for _ in range(LIMIT + 1)]
    after, of_moment = [], {}
    with calling([Caller(running, key, pause=0.005) for _ in range(2)]) as crowd:
        for seconds in (DAY, -DAY, 0):
            move(running, seconds)
            crowd.wait_until(len(crowd.seen) + 30)
            of_moment[read(running, key).headers["X-Request-ID"]] = time.time() + seconds
            after += [read(running, limited) for _ in range(LIMIT)]
            assert_health_is_good(running)
    passed = sum(reply.status == 200 for reply in [*used_up, *after])
    refused = [reply for reply in after if reply.status != 200]

    assert {call.status for call in crowd.seen} == {200}
    assert passed >= LIMIT
    assert passed <= LIMIT + 1 + LIMIT * (time.monotonic() - started) / 60, "a minute began anew"
    assert {reply.status for reply in refused} == {429}
    assert all(1 <= int(reply.headers["Retry-After"]) <= 30 for reply in refused)
    assert_each_is_logged_once(running, [call.request_id for call in crowd.seen])
    for name, moment in of_moment.items():
        [call] = running.calls(request_id=name)
        assert abs(call["at"].timestamp() - moment) < HOUR, "a call's time is the clock's when it came"
    assert "Traceback" not in running.log.read_text()


def test_a_key_ends_by_the_clock_as_it_is_and_works_again_when_it_is_put_right(running):
    key = running.issue("alice", "--expires-in", "12h")["key"]
    seen = []
    for seconds in (0, DAY, 0):
        move(running, seconds)
        seen.append(read(running, key).status)

    assert seen == [200, 401, 200]


def assert_health_is_good(running: Portal) -> None:
    """Within some seconds: what waited to be written when the clock was moved looks old until it is."""
    health = wait_for(
        lambda: running.request("GET", "/health").json(), lambda told: told["status"] == "ok", seconds=20
    )
    assert health["status"] == "ok", health
    assert health["checks"]["spool"]["lost"] == 0


def assert_each_is_logged_once(running: Portal, names: list[str]) -> None:
    query = "select request_id, duration_ms from proxy_call where request_id = any(%s)"
    rows = wait_for(lambda: running.sql(query, names), lambda rows: len(rows) >= len(names), seconds=20)
    assert sorted(name for name, _ in rows) == sorted(names)
    assert all(0 < milliseconds < 60_000 for _, milliseconds in rows)
