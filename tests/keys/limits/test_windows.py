"""A minute that slides."""

import threading

import pytest

from keys.limits.windows import Windows


class Clock:
    now = 600.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def windows(clock) -> Windows:
    return Windows(clock=clock)


def hits(windows: Windows, count: int, *, limit: int = 60, name: str = "key") -> int:
    return sum(windows.hit(name, limit) for _ in range(count))


def test_exactly_the_limit_passes(windows):
    assert hits(windows, 100) == 60
    assert hits(windows, 100, name="other") == 60
    assert windows.read("key").used == 60
    assert windows.read("nobody").used == 0


def test_no_sixty_seconds_hold_twice_the_limit(windows, clock):
    clock.now += 59
    assert hits(windows, 100) == 60
    clock.now += 2
    assert hits(windows, 100) == 1
    clock.now += 30
    assert 28 <= hits(windows, 100) <= 31
    clock.now += 200
    assert hits(windows, 100) == 60


def test_a_call_that_waits_as_long_as_it_is_told_passes(windows, clock):
    for second in (0.0, 31.0, 59.5):
        clock.now = 6000.0 + second
        hits(windows, 100)
        wait = windows.read("key").free_in(60)
        clock.now += wait - 0.5 if wait > 0.5 else 0
        refused = not windows.hit("key", 60) if wait > 0.5 else True
        clock.now += 0.6
        assert refused
        assert windows.hit("key", 60)


def test_a_limit_that_is_lowered_counts_what_was_used(windows):
    hits(windows, 50)
    assert hits(windows, 10, limit=20) == 0
    assert windows.read("key").free_in(60) == 0.0


def test_many_threads_count_together(windows):
    passed = []
    threads = [threading.Thread(target=lambda: passed.append(hits(windows, 100))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(passed) == 60


def test_names_that_are_no_longer_used_go(windows, clock, monkeypatch):
    monkeypatch.setattr("keys.limits.windows.PRUNE_ABOVE", 10)
    for number in range(10):
        windows.hit(f"key {number}", 60)
    clock.now += 120
    windows.hit("another", 60)
    assert list(windows.windows) == ["another"]
