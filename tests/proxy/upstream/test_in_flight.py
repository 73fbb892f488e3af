"""Slots for calls under way."""

import itertools
import threading

import pytest

from keys.refusals import Refusal
from proxy.upstream import in_flight
from proxy.upstream.in_flight import Slot, Slots
from tests.portals import wait_for


@pytest.fixture
def slots() -> Slots:
    return Slots(
        most=6, most_each=4, most_transfers=4, most_transfers_each=2, most_owners=4, most_transfers_owners=2
    )


def take(slots: Slots, name: str, *, owner: str = "", is_transfer: bool = False) -> Slot:
    return slots.take(name, owner=owner or name, is_transfer=is_transfer)


def refused(slots: Slots, name: str, *, owner: str = "", is_transfer: bool = False) -> Refusal:
    with pytest.raises(Refusal) as caught:
        take(slots, name, owner=owner, is_transfer=is_transfer)
    assert (caught.value.status, caught.value.error_code) == (429, "TEMPORARILY_UNAVAILABLE")
    assert 1 <= int(caught.value.headers["Retry-After"]) <= 30
    return caught.value


def test_one_caller_gets_so_many_and_another_still_gets_one(slots):
    for _ in range(4):
        take(slots, "alice")

    assert refused(slots, "alice").reason == "too_many_in_flight"
    take(slots, "bob")
    take(slots, "bob")
    assert refused(slots, "charlie").reason == "portal_busy"


def test_a_users_keys_and_session_share_what_one_key_may_have(slots):
    for name in ("key_a", "key_a", "key_b", "usr_alice"):
        take(slots, name, owner="usr_alice")

    refusal = refused(slots, "key_c", owner="usr_alice")
    assert refusal.reason == "too_many_in_flight"
    assert "4 calls of yours" in refusal.message
    take(slots, "key_d", owner="usr_bob")


def test_a_users_keys_share_the_transfers_of_one(slots):
    held = [take(slots, name, owner="usr_alice", is_transfer=True) for name in ("key_a", "key_b")]

    assert "2 artifact transfers" in refused(slots, "key_c", owner="usr_alice", is_transfer=True).message
    held[0].release()
    take(slots, "key_c", owner="usr_alice", is_transfer=True)


def test_transfers_leave_places_for_other_calls(slots):
    for name in ("alice", "alice", "bob", "bob"):
        take(slots, name, is_transfer=True)

    assert refused(slots, "alice", is_transfer=True).reason == "too_many_in_flight"
    assert refused(slots, "charlie", is_transfer=True).reason == "portal_busy"
    take(slots, "charlie")


def test_a_place_that_is_left_is_free_and_left_once(slots):
    held = [take(slots, "alice", is_transfer=True) for _ in range(2)]
    held[0].release()
    held[0].release()
    take(slots, "alice", is_transfer=True)
    refused(slots, "alice", is_transfer=True)
    assert (slots.count, slots.transfers) == (2, 2)


def test_long_transfers_are_waited_for_longer_than_short_ones(slots):
    held = [take(slots, "alice", is_transfer=True) for _ in range(2)]
    assert refused(slots, "alice", is_transfer=True).headers["Retry-After"] == "1"
    for slot in held:
        slot.since -= 12
    assert refused(slots, "alice", is_transfer=True).headers["Retry-After"] == "12"
    for slot in held:
        slot.since -= 1000
    assert refused(slots, "alice", is_transfer=True).headers["Retry-After"] == "30"


def test_calls_over_the_limit_wait_in_turn_and_the_rest_are_refused(slots, monkeypatch):
    held = [take(slots, "alice") for _ in range(4)]
    order: list[int] = []

    def wait(number: int) -> None:
        slots.take_in_turn("alice", owner="alice", is_transfer=False)
        order.append(number)

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(3)]
    for count, thread in enumerate(threads, 1):
        thread.start()
        assert wait_for(lambda count=count: len(slots.waiting["alice", False]) == count)
    monkeypatch.setattr(in_flight, "MOST_THREADS_EACH", 3)
    with pytest.raises(Refusal):
        slots.take_in_turn("alice", owner="alice", is_transfer=False)
    for slot, thread in zip(held, threads, strict=False):
        slot.release()
        thread.join(5)

    assert order == [0, 1, 2]
    assert not slots.waiting
    monkeypatch.setattr(in_flight, "WAIT_SECONDS", 0.01)
    with pytest.raises(Refusal):
        slots.take_in_turn("alice", owner="alice", is_transfer=False)


def test_many_calls_that_are_refused_come_again_at_intervals(slots):
    """A client gives up after seven retries: at one second each, one of twenty threads would lose its call."""
    held = [take(slots, "alice") for _ in range(4)]
    assert [refused(slots, "alice").headers["Retry-After"] for _ in range(9)] == [*"111122223"]
    for slot in held:
        slot.release()
    assert not slots.refused


@pytest.mark.parametrize(
    ("of_all", "of_a_key", "of_a_user", "transfers_of_a_user"),
    [(28, 14, 14, 10), (28, 5, 14, 10), (28, 20, 20, 10), (1, 1, 1, 1)],
)
def test_a_user_has_half_of_all_or_what_one_key_may_have(
    settings, of_all, of_a_key, of_a_user, transfers_of_a_user
):
    settings.MAX_IN_FLIGHT, settings.MAX_IN_FLIGHT_PER_KEY = of_all, of_a_key
    slots = in_flight.from_settings()
    assert (slots.most_owners, slots.most_transfers_owners) == (of_a_user, transfers_of_a_user)


def test_many_threads_never_take_more_than_there_are():
    slots, most = Slots(5, 5, 5, 5, 5, 5), []

    def work() -> None:
        for _ in range(300):
            try:
                slot = take(slots, "alice")
            except Refusal:
                continue
            most.append(slots.count)
            slot.release()

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) <= 5
    assert (slots.count, slots.taken, slots.owned) == (0, {}, {})


def test_transfers_go_slower_while_somebody_else_calls(slots, monkeypatch):
    slept = []
    monkeypatch.setattr(in_flight.time, "sleep", slept.append)
    clock = itertools.count(0.0, 0.002)
    monkeypatch.setattr(in_flight.time, "thread_time", lambda: next(clock))
    transfer = take(slots, "alice", is_transfer=True)

    transfer.throttle()
    take(slots, "alice").release()
    take(slots, "bob", is_transfer=True).release()
    transfer.throttle()
    assert slept == [], "one's own calls, and others' transfers, do not count"

    call = take(slots, "bob")
    take(slots, "alice", is_transfer=True).throttle()
    assert slept == [], "nothing is known yet of what a piece of this one costs"
    transfer.throttle()
    take(slots, "alice")
    transfer.throttle()
    call.throttle()
    assert slept == pytest.approx([9 * 0.004 * 2, 9 * 0.002 * 3]), "a tenth of a processor, shared"

    monkeypatch.setattr(in_flight, "RECENT_SECONDS", 0.0)
    transfer.throttle()
    assert len(slept) == 2
