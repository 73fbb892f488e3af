"""How long users rest while others are active, by a clock that the test sets."""

import pytest

from proxy.upstream import time_share
from proxy.upstream.time_share import RECENT_SECONDS, TimeShare


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def share(clock) -> TimeShare:
    return TimeShare(share=0.5, burst=0.5, longest=5.0, clock=clock)


def test_use_is_free_while_nobody_else_is_active(share, clock):
    share.note("bob")
    share.charge("bob", 60.0)
    assert share.seconds_to_rest("bob") == 0

    share.note("alice")
    assert share.seconds_to_rest("bob") == 0, "what was used before counts for nothing"


def test_a_user_with_half_the_time_rests_twice_as_long_as_the_use_less_the_burst(share, clock):
    share.note("alice")
    share.charge("bob", 0.5)
    assert share.seconds_to_rest("bob") == 0, "the burst"
    share.charge("bob", 1.0)
    assert share.seconds_to_rest("bob") == pytest.approx(2.0)
    assert share.seconds_to_rest("alice") == 0

    clock.now += 0.5
    assert share.seconds_to_rest("bob") == pytest.approx(1.5)
    share.charge("bob", 0.25)
    assert share.seconds_to_rest("bob") == pytest.approx(2.0), "another call of the same user's, meanwhile"


def test_a_user_need_not_rest_once_the_others_are_quiet(share, clock):
    share.note("alice")
    share.note("bob")
    share.charge("bob", 2.0)
    assert share.seconds_to_rest("bob") > RECENT_SECONDS

    clock.now += RECENT_SECONDS + 0.001
    assert share.seconds_to_rest("bob") == 0
    share.note("charlie")
    assert share.seconds_to_rest("bob") > 0, "the rest has not ended"


def test_whoever_was_active_last_is_not_another(share):
    assert not share.has_others("bob")
    share.note("bob")
    share.note("bob")
    assert not share.has_others("bob")
    assert share.has_others("alice")
    share.note("alice")
    share.note("alice")
    assert share.has_others("bob")
    assert share.has_others("alice"), "bob was there a moment ago"


def test_nobody_rests_for_longer_than_the_longest_rest(share, clock):
    share.note("alice")
    share.charge("bob", 1000.0)
    assert share.seconds_to_rest("bob") == pytest.approx(5.0)

    clock.now += 6.0
    share.note("alice")
    assert share.seconds_to_rest("bob") == 0


def test_a_user_who_keeps_calling_gets_the_share_and_no_more(share, clock):
    end, used = clock.now + 300.0, 0.0
    while clock.now < end:
        share.note("alice")
        clock.now += share.seconds_to_rest("bob") + 0.02
        share.charge("bob", 0.02)
        used += 0.02
        share.note("alice")
    assert used == pytest.approx(150.0, rel=0.02)


def test_it_forgets_users_who_have_rested(share, clock, monkeypatch):
    monkeypatch.setattr(time_share, "MOST_USERS", 3)
    share.note("alice")
    for number in range(10):
        share.charge(f"user-{number}", 0.1)
        clock.now += 0.3
    assert len(share.rested_at) <= 3
