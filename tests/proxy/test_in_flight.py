"""Places for calls under way."""

import threading

import pytest

from keys.refusals import Refusal
from proxy import in_flight
from proxy.in_flight import Places


@pytest.fixture
def places() -> Places:
    return Places(most=6, most_each=4, most_transfers=4, most_transfers_each=2)


def refused(places: Places, name: str, *, is_transfer: bool = False) -> Refusal:
    with pytest.raises(Refusal) as caught:
        places.take(name, is_transfer=is_transfer)
    assert (caught.value.status, caught.value.error_code) == (503, "TEMPORARILY_UNAVAILABLE")
    assert 1 <= int(caught.value.headers["Retry-After"]) <= 30
    return caught.value


def test_one_caller_gets_so_many_and_another_still_gets_one(places):
    for _ in range(4):
        places.take("alice", is_transfer=False)

    assert refused(places, "alice").reason == "too_many_in_flight"
    places.take("bob", is_transfer=False)
    places.take("bob", is_transfer=False)
    assert refused(places, "charlie").reason == "portal_busy"


def test_transfers_leave_places_for_other_calls(places):
    for name in ("alice", "alice", "bob", "bob"):
        places.take(name, is_transfer=True)

    assert refused(places, "alice", is_transfer=True).reason == "too_many_in_flight"
    assert refused(places, "charlie", is_transfer=True).reason == "portal_busy"
    places.take("charlie", is_transfer=False)


def test_a_place_that_is_left_is_free_and_left_once(places):
    held = [places.take("alice", is_transfer=True) for _ in range(2)]
    held[0].leave()
    held[0].leave()
    places.take("alice", is_transfer=True)
    refused(places, "alice", is_transfer=True)
    assert (places.count, places.transfers) == (2, 2)


def test_long_transfers_are_waited_for_longer_than_short_ones(places):
    held = [places.take("alice", is_transfer=True) for _ in range(2)]
    assert refused(places, "alice", is_transfer=True).headers["Retry-After"] == "1"
    for place in held:
        place.since -= 12
    assert refused(places, "alice", is_transfer=True).headers["Retry-After"] == "12"
    for place in held:
        place.since -= 1000
    assert refused(places, "alice", is_transfer=True).headers["Retry-After"] == "30"


def test_many_threads_never_take_more_than_there_are():
    places, most = Places(most=5, most_each=5, most_transfers=5, most_transfers_each=5), []

    def work() -> None:
        for _ in range(300):
            try:
                place = places.take("alice", is_transfer=False)
            except Refusal:
                continue
            most.append(places.count)
            place.leave()

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) <= 5
    assert (places.count, places.taken) == (0, {})


def test_transfers_go_slower_while_somebody_else_calls(places, monkeypatch):
    slept = []
    monkeypatch.setattr(in_flight.time, "sleep", slept.append)
    transfer = places.take("alice", is_transfer=True)

    transfer.give_way()
    places.take("alice", is_transfer=False).leave()
    places.take("bob", is_transfer=True).leave()
    transfer.give_way()
    assert slept == [], "one's own calls, and others' transfers, do not count"

    call = places.take("bob", is_transfer=False)
    transfer.give_way()
    places.take("alice", is_transfer=False)
    transfer.give_way()
    call.give_way()
    assert slept == [in_flight.PACE_SECONDS, 2 * in_flight.PACE_SECONDS]

    monkeypatch.setattr(in_flight, "RECENT_SECONDS", 0.0)
    transfer.give_way()
    assert len(slept) == 2
