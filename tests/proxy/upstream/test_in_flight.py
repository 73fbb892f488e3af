"""Places for calls under way."""

import itertools
import threading

import pytest

from keys.refusals import Refusal
from proxy.upstream import in_flight
from proxy.upstream.in_flight import Place, Places


@pytest.fixture
def places() -> Places:
    return Places(
        most=6, most_each=4, most_transfers=4, most_transfers_each=2, most_owners=4, most_transfers_owners=2
    )


def take(places: Places, name: str, *, owner: str = "", is_transfer: bool = False) -> Place:
    return places.take(name, owner=owner or name, is_transfer=is_transfer)


def refused(places: Places, name: str, *, owner: str = "", is_transfer: bool = False) -> Refusal:
    with pytest.raises(Refusal) as caught:
        take(places, name, owner=owner, is_transfer=is_transfer)
    assert (caught.value.status, caught.value.error_code) == (503, "TEMPORARILY_UNAVAILABLE")
    assert 1 <= int(caught.value.headers["Retry-After"]) <= 30
    return caught.value


def test_one_caller_gets_so_many_and_another_still_gets_one(places):
    for _ in range(4):
        take(places, "alice")

    assert refused(places, "alice").reason == "too_many_in_flight"
    take(places, "bob")
    take(places, "bob")
    assert refused(places, "charlie").reason == "portal_busy"


def test_a_users_keys_and_session_share_what_one_key_may_have(places):
    for name in ("key_a", "key_a", "key_b", "usr_alice"):
        take(places, name, owner="usr_alice")

    refusal = refused(places, "key_c", owner="usr_alice")
    assert refusal.reason == "too_many_in_flight"
    assert "4 calls of yours" in refusal.message
    take(places, "key_d", owner="usr_bob")


def test_a_users_keys_share_the_transfers_of_one(places):
    held = [take(places, name, owner="usr_alice", is_transfer=True) for name in ("key_a", "key_b")]

    assert "2 artifact transfers" in refused(places, "key_c", owner="usr_alice", is_transfer=True).message
    held[0].leave()
    take(places, "key_c", owner="usr_alice", is_transfer=True)


def test_transfers_leave_places_for_other_calls(places):
    for name in ("alice", "alice", "bob", "bob"):
        take(places, name, is_transfer=True)

    assert refused(places, "alice", is_transfer=True).reason == "too_many_in_flight"
    assert refused(places, "charlie", is_transfer=True).reason == "portal_busy"
    take(places, "charlie")


def test_a_place_that_is_left_is_free_and_left_once(places):
    held = [take(places, "alice", is_transfer=True) for _ in range(2)]
    held[0].leave()
    held[0].leave()
    take(places, "alice", is_transfer=True)
    refused(places, "alice", is_transfer=True)
    assert (places.count, places.transfers) == (2, 2)


def test_long_transfers_are_waited_for_longer_than_short_ones(places):
    held = [take(places, "alice", is_transfer=True) for _ in range(2)]
    assert refused(places, "alice", is_transfer=True).headers["Retry-After"] == "1"
    for place in held:
        place.since -= 12
    assert refused(places, "alice", is_transfer=True).headers["Retry-After"] == "12"
    for place in held:
        place.since -= 1000
    assert refused(places, "alice", is_transfer=True).headers["Retry-After"] == "30"


@pytest.mark.parametrize(
    ("of_all", "of_a_key", "of_a_user", "transfers_of_a_user"),
    [(28, 14, 14, 10), (28, 5, 14, 10), (28, 20, 20, 10), (1, 1, 1, 1)],
)
def test_a_user_has_half_of_all_or_what_one_key_may_have(
    settings, of_all, of_a_key, of_a_user, transfers_of_a_user
):
    settings.MAX_IN_FLIGHT, settings.MAX_IN_FLIGHT_PER_KEY = of_all, of_a_key
    places = in_flight.from_settings()
    assert (places.most_owners, places.most_transfers_owners) == (of_a_user, transfers_of_a_user)


def test_many_threads_never_take_more_than_there_are():
    places, most = Places(5, 5, 5, 5, 5, 5), []

    def work() -> None:
        for _ in range(300):
            try:
                place = take(places, "alice")
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
    assert (places.count, places.taken, places.owned) == (0, {}, {})


def test_transfers_go_slower_while_somebody_else_calls(places, monkeypatch):
    slept = []
    monkeypatch.setattr(in_flight.time, "sleep", slept.append)
    clock = itertools.count(0.0, 0.002)
    monkeypatch.setattr(in_flight.time, "thread_time", lambda: next(clock))
    transfer = take(places, "alice", is_transfer=True)

    transfer.give_way()
    take(places, "alice").leave()
    take(places, "bob", is_transfer=True).leave()
    transfer.give_way()
    assert slept == [], "one's own calls, and others' transfers, do not count"

    call = take(places, "bob")
    take(places, "alice", is_transfer=True).give_way()
    assert slept == [], "nothing is known yet of what a piece of this one costs"
    transfer.give_way()
    take(places, "alice")
    transfer.give_way()
    call.give_way()
    assert slept == pytest.approx([9 * 0.004 * 2, 9 * 0.002 * 3]), "a tenth of a processor, shared"

    monkeypatch.setattr(in_flight, "RECENT_SECONDS", 0.0)
    transfer.give_way()
    assert len(slept) == 2
