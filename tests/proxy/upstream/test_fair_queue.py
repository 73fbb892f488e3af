import threading
import time
from contextlib import ExitStack

import pytest

from keys.refusals import Refusal
from proxy.upstream import fair_queue
from proxy.upstream.fair_queue import FairQueue
from proxy.upstream.time_share import TimeShare
from tests.portals import wait_for
from tests.proxy.upstream.test_time_share import Clock


class Callers:
    """Calls in threads of their own, each under way until `finish`."""

    def __init__(self, queue: FairQueue) -> None:
        self.queue = queue
        self.order: list[str] = []
        self.doors: dict[str, threading.Event] = {}

    def call(self, user: str, name: str) -> None:
        door = self.doors[name] = threading.Event()
        before = self.waiting(user)

        def work() -> None:
            with self.queue.turn(user):
                self.order.append(name)
                door.wait(10)

        threading.Thread(target=work, daemon=True).start()
        assert wait_for(lambda: name in self.order or self.waiting(user) > before)

    def waiting(self, user: str) -> int:
        return len(self.queue.waiting.get((user, False), ()))

    def finish(self, name: str) -> None:
        under_way = len(self.order)
        self.doors[name].set()
        wait_for(lambda: len(self.order) > under_way or not any(self.queue.waiting))


@pytest.fixture
def callers():
    callers = Callers(FairQueue(2))
    yield callers
    for door in callers.doors.values():
        door.set()
    assert wait_for(lambda: not callers.queue.running)


def test_a_lone_user_has_the_whole_capacity(callers):
    callers.call("bob", "b1")
    callers.call("bob", "b2")
    callers.call("bob", "b3")

    assert callers.order == ["b1", "b2"]


def test_a_user_with_one_call_waits_for_one_call_of_the_busy_one_and_not_for_all(callers):
    for number in range(1, 7):
        callers.call("bob", f"b{number}")
    callers.call("alice", "a1")

    callers.finish("b1")

    assert callers.order == ["b1", "b2", "a1"]


def queue_of_calls(settings, capacity: int) -> FairQueue:
    """The queue to an MLflow that works on so many calls at once."""
    settings.MLFLOW_CONCURRENCY = capacity
    return fair_queue.calls.__wrapped__("http://127.0.0.1:9")


def test_one_user_never_has_the_last_turn_of_a_queue_with_a_reserve(settings):
    queue = queue_of_calls(settings, 3)
    with queue.turn("bob"), queue.turn("bob"):
        queue.longest_wait = 0.05
        with pytest.raises(Refusal), queue.turn("bob"):
            pass
        with queue.turn("alice"):
            pass
    queue_of_one = queue_of_calls(settings, 1)  # it has no reserve
    with queue_of_one.turn("bob"):
        assert queue_of_one.running == {("bob", False): 1}


def test_searches_leave_half_of_the_turns_to_other_calls_and_one_to_other_users(settings):
    queue = queue_of_calls(settings, 4)
    queue.longest_wait = 0.05
    with queue.turn("bob", is_search=True):
        with pytest.raises(Refusal), queue.turn("bob", is_search=True):
            pass
        with queue.turn("bob"), queue.turn("alice", is_search=True):
            with pytest.raises(Refusal), queue.turn("charlie", is_search=True):
                pass
            with queue.turn("charlie"):
                pass


def test_a_call_that_has_waited_for_long_rests_only_as_long_as_the_last_call_took():
    clock = Clock()
    queue = FairQueue(3, share=TimeShare(share=0.1, longest=9.0, clock=clock), clock=clock)
    with queue.turn("alice"), queue.turn("bob"):
        clock.now += 0.2  # bob rests for two seconds
    assert not queue.has_room("bob", False, is_overdue=True)
    clock.now += 0.3

    assert queue.has_room("bob", False, is_overdue=True)
    assert not queue.has_room("bob", False)
    began = time.monotonic()
    queue.longest_wait = 0.05
    with pytest.raises(Refusal):
        queue.turn("bob", waited=1.0).__enter__()
    queue.longest_wait = 5.0
    with queue.turn("bob", waited=fair_queue.OVERDUE_SECONDS):
        pass
    assert time.monotonic() - began < 2


def test_a_user_whose_calls_take_long_rests_in_between_and_others_do_not():
    clock = Clock()
    queue = FairQueue(3, share=TimeShare(share=0.5, longest=5.0, clock=clock), clock=clock)
    with queue.turn("alice"):
        pass
    with queue.turn("bob", is_search=True):
        clock.now += 0.5  # a slow search

    for is_search in (True, False):
        assert queue.has_room("alice", is_search)
        assert not queue.has_room("bob", is_search)
    clock.now += 0.9
    with queue.turn("alice"):
        pass
    assert not queue.has_room("bob", is_search=False)
    clock.now += 0.2
    assert queue.has_room("bob", is_search=False)


def test_short_calls_one_at_a_time_are_free_and_parallel_or_long_ones_are_not():
    clock = Clock()
    queue = FairQueue(4, share=TimeShare(share=0.5, longest=9.0, clock=clock), free_seconds=0.1, clock=clock)
    with queue.turn("bob"):
        pass
    for _ in range(10):
        with queue.turn("alice"):
            clock.now += 0.05
    assert queue.has_room("alice", is_search=False), "she waits for each"

    with queue.turn("alice"), queue.turn("alice", is_search=True):
        clock.now += 0.05
    assert not queue.has_room("alice", is_search=False)
    clock.now += 0.5
    with queue.turn("bob"):
        clock.now += 0.11
    assert not queue.has_room("bob", is_search=False)


def test_a_call_goes_as_soon_as_its_user_has_rested():
    queue = FairQueue(3, share=TimeShare(share=1.0, longest=5.0))
    with queue.turn("bob"):
        time.sleep(0.1)
        with queue.turn("alice"):
            pass
    started = time.monotonic()
    with queue.turn("bob"):
        assert 0.05 < time.monotonic() - started < 0.5


def test_a_call_that_runs_keeps_its_user_active():
    clock = Clock()
    queue = FairQueue(3, share=TimeShare(share=1.0, longest=5.0, clock=clock), clock=clock)
    with queue.turn("alice"):
        with queue.turn("bob"):
            clock.now += 3.0
        assert not queue.has_room("bob", is_search=False)


def test_while_others_are_active_a_user_has_half(callers):
    callers.call("alice", "a1")
    callers.call("bob", "b1")
    callers.call("bob", "b2")
    callers.doors["a1"].set()
    assert wait_for(lambda: ("alice", False) not in callers.queue.running)

    assert callers.order == ["a1", "b1"]  # alice called a moment ago, and finds room when she calls again
    callers.call("alice", "a2")
    assert callers.order == ["a1", "b1", "a2"]


def test_users_take_turns_and_each_users_calls_stay_in_order(callers):
    callers.call("alice", "a1")
    callers.call("bob", "b1")
    for name in ("b2", "b3"):
        callers.call("bob", name)
    for name in ("a2", "a3"):
        callers.call("alice", name)

    for name in ("b1", "a1", "b2", "a2"):
        callers.finish(name)

    assert callers.order == ["a1", "b1", "b2", "a2", "b3", "a3"]


def test_a_call_that_waits_too_long_is_refused_and_leaves_the_row():
    queue = FairQueue(1, longest_wait=0.01)
    with ExitStack() as stack:
        stack.enter_context(queue.turn("bob"))

        with pytest.raises(Refusal, match="was not sent") as refused, queue.turn("alice"):
            pass

        assert refused.value.status == 429
        assert refused.value.headers["Retry-After"]
        assert not queue.waiting
    assert not queue.running


def test_a_call_that_fails_gives_its_turn_back():
    queue = FairQueue(1)

    with pytest.raises(ValueError, match="upstream"), queue.turn("bob"):
        raise ValueError("upstream")

    assert not queue.running


def test_a_users_share_grows_when_the_others_have_gone_quiet(callers, monkeypatch):
    monkeypatch.setattr("proxy.upstream.fair_queue.RECENT_SECONDS", 0.05)
    monkeypatch.setattr("proxy.upstream.time_share.RECENT_SECONDS", 0.05)
    callers.call("alice", "a1")
    callers.call("bob", "b1")
    callers.call("bob", "b2")
    callers.doors["a1"].set()

    assert wait_for(lambda: callers.order, lambda order: "b2" in order) == ["a1", "b1", "b2"]
