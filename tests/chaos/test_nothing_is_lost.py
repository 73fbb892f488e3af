"""Every answered call is in the log exactly once, whoever is killed or away. CHAOS=whole: at full length."""

import os
import signal
import time
from collections import Counter

import pytest

from tests.chaos.callers import Caller, calling, kill_a_worker
from tests.portals import wait_for

pytestmark = pytest.mark.postgresql

CALLS, AWAY_SECONDS = (2000, 60.0) if os.environ.get("CHAOS") == "whole" else (400, 6.0)


def logged(switch) -> Counter[str]:
    return Counter(name for (name,) in switch.rows("select request_id from proxy_call"))


def assert_totals_agree(switch) -> None:
    # each call has milliseconds to three places: two would round a sum that ends in 5 either way
    sums = "coalesce(sum(bytes_in), 0), coalesce(sum(bytes_out), 0), round(sum(duration_ms)::numeric, 3)"
    [in_log] = switch.rows(f"select count(*), {sums} from proxy_call")
    for span in ("day", "hour"):
        [in_totals] = switch.rows(f"select sum(calls), {sums} from proxy_calltotal where span = %s", span)
        assert in_totals == in_log


def test_workers_are_killed_and_postgresql_is_away(switch, alice, start_portal):
    portal = start_portal(WORKERS="2")
    with calling([Caller(portal, alice) for _ in range(4)]) as crowd:
        crowd.wait_until(CALLS * 2 // 10)
        kill_a_worker(portal)
        crowd.wait_until(CALLS * 4 // 10)
        kill_a_worker(portal)
        crowd.wait_until_settled()

        crowd.pace(4 * AWAY_SECONDS / (CALLS * 4 // 10))
        switch.stop()
        away = time.monotonic()
        time.sleep(AWAY_SECONDS)
        back = time.monotonic()
        kill_a_worker(portal)
        switch.start()

        crowd.pace(0.0)
        crowd.wait_until(max(CALLS, len(crowd.seen) + CALLS // 10))
    seen = crowd.seen

    during = [call for call in seen if away < call.started and call.started + call.seconds < back]
    assert len(during) > CALLS // 5
    assert {call.status for call in during} == {200}
    print(f"slowest {max(call.seconds for call in during):.3f} s of {len(during)} while PostgreSQL was away")
    assert max(call.seconds for call in during) < 1.0
    # A worker that was started while PostgreSQL was away knows no key yet: its callers are not anyone's.
    answered = [call.request_id for call in seen if call.status != 429]
    rows = wait_for(lambda: logged(switch), lambda rows: all(name in rows for name in answered), seconds=20)
    assert [name for name in answered if name not in rows] == []
    assert [name for name, count in rows.items() if count > 1] == []
    assert len(answered) >= CALLS
    assert_totals_agree(switch)
    assert wait_for(
        lambda: portal.request("GET", "/health").json()["checks"]["spool"]["backlog"] == 0, seconds=5
    )


def test_sigterm_under_load(switch, alice, start_portal):
    portal = start_portal(WORKERS="2")
    with calling([Caller(portal, alice) for _ in range(4)]) as crowd:
        crowd.wait_until(200)
        portal.process.send_signal(signal.SIGTERM)
        portal.process.wait(30)
    rows = logged(switch)

    assert portal.process.returncode == 0
    assert [call.request_id for call in crowd.seen if rows[call.request_id] != 1] == []
    assert sum(caller.cut_off for caller in crowd.callers) == 0
    assert_totals_agree(switch)
