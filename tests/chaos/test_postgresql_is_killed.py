"""PostgreSQL is killed with kill -9 while a portal is called, and is started again."""

import pytest

from tests.chaos.callers import READ, Caller, calling, kill_a_worker
from tests.chaos.test_faults import MODELS, WHOLE
from tests.chaos.test_nothing_is_lost import assert_totals_agree, logged
from tests.portals import wait_for

pytestmark = pytest.mark.postgresql

CALLS = 1000 if WHOLE else 100  # in each part


def test_postgresql_is_killed_and_comes_back(switch, alice, start_portal):
    portal = start_portal()
    callers = [Caller(portal, alice) for _ in range(4)]
    ready = lambda: portal.request("GET", "/health/ready").status  # noqa: E731
    with calling(callers) as crowd:
        crowd.wait_until(CALLS)
        switch.kill()
        crowd.wait_until(len(crowd.seen) + CALLS)
        assert ready() == 503
        refused = portal.request("POST", MODELS, key=alice, body={"name": "postgresql-is-away"})
        before = list(crowd.seen)
        switch.start()
        assert wait_for(ready, lambda status: status == 200, seconds=30) == 200
        crowd.wait_until(len(crowd.seen) + CALLS)
    model = {"name": "postgresql-is-back"}
    created = wait_for(
        lambda: portal.request("POST", MODELS, key=alice, body=model).status, lambda status: status == 200
    )

    assert {call.status for call in crowd.seen} == {200}, "a known key's calls noticed it"
    assert sum(caller.cut_off for caller in callers) == 0
    assert (refused.status, refused.json()["error_code"]) == (429, "TEMPORARILY_UNAVAILABLE")
    assert created == 200
    assert_each_is_logged_once(switch, [call.request_id for call in crowd.seen])
    assert len(before) >= 2 * CALLS


def test_a_worker_that_starts_while_postgresql_is_away_knows_no_key(switch, alice, start_portal):
    portal = start_portal()
    beat = "select 1 from pg_stat_activity where application_name = 'hokusai-listener' and query = 'SELECT 1'"
    assert wait_for(lambda: switch.rows(beat))  # when it begins to listen, it distrusts what was read before
    known = portal.request("GET", READ[1], key=alice)
    switch.kill()
    during = portal.request("GET", READ[1], key=alice)
    kill_a_worker(portal)
    new = wait_for(lambda: portal.request("GET", READ[1], key=alice), seconds=30)
    switch.start()
    back = wait_for(
        lambda: portal.request("GET", READ[1], key=alice), lambda reply: reply.status == 200, seconds=30
    )

    assert (known.status, during.status, back.status) == (200, 200, 200)
    assert (new.status, new.json()["error_code"]) == (429, "TEMPORARILY_UNAVAILABLE")
    assert 1 <= int(new.headers["Retry-After"]) <= 30
    assert_each_is_logged_once(switch, [reply.headers["X-Request-ID"] for reply in (known, during, back)])


def assert_each_is_logged_once(switch, names: list[str]) -> None:
    """The killed worker's calls too, which another adopts; and nothing is in the log twice."""
    rows = wait_for(lambda: logged(switch), lambda rows: all(name in rows for name in names), seconds=30)
    assert [name for name in names if name not in rows] == []
    assert [name for name, count in rows.items() if count > 1] == []
    assert_totals_agree(switch)
