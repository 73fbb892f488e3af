"""Calls of the last minute, counted in memory."""

import threading

import pytest

from keys.limits.memory_counters import MinuteCounters
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(600.0)


@pytest.fixture
def minutes(clock) -> MinuteCounters:
    return MinuteCounters(clock=clock)


def hits(minutes: MinuteCounters, count: int, *, limit: int = 60, name: str = "key") -> int:
    return sum(minutes.hit(name, limit) for _ in range(count))


def test_exactly_the_limit_passes(minutes):
    assert hits(minutes, 100) == 60
    assert hits(minutes, 100, name="other") == 60
    assert minutes.read("key").used == 60
    assert minutes.read("nobody").used == 0


def test_no_sixty_seconds_hold_twice_the_limit(minutes, clock):
    clock.now += 59
    assert hits(minutes, 100) == 60
    clock.now += 2
    assert hits(minutes, 100) == 1
    clock.now += 30
    assert 28 <= hits(minutes, 100) <= 31
    clock.now += 200
    assert hits(minutes, 100) == 60


def test_a_call_that_waits_as_long_as_it_is_told_passes(minutes, clock):
    for second in (0.0, 31.0, 59.5):
        clock.now = 6000.0 + second
        hits(minutes, 100)
        wait = minutes.read("key").free_in(60)
        clock.now += wait - 0.5 if wait > 0.5 else 0
        refused = not minutes.hit("key", 60) if wait > 0.5 else True
        clock.now += 0.6
        assert refused
        assert minutes.hit("key", 60)


def test_a_limit_that_is_lowered_counts_what_was_used(minutes):
    hits(minutes, 50)
    assert hits(minutes, 10, limit=20) == 0
    assert minutes.read("key").free_in(60) == 0.0


def test_many_threads_count_together(minutes):
    passed = []
    threads = [threading.Thread(target=lambda: passed.append(hits(minutes, 100))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(passed) == 60


def test_names_that_are_no_longer_used_go(minutes, clock, monkeypatch):
    monkeypatch.setattr("keys.limits.memory_counters.PRUNE_ABOVE", 10)
    for number in range(10):
        minutes.hit(f"key {number}", 60)
    clock.now += 120
    minutes.hit("another", 60)
    assert list(minutes.counts) == ["another"]
