"""What is counted in Redis, and that it is only a guest on the path of a call."""

import signal
import threading
import time

import pytest

from keys.limits.availability import RedisUnavailable
from keys.limits.counters import Counters
from keys.limits.redis_counters import TIMEOUT, RedisCounters
from tests.portals import wait_for
from tests.redis_server import RedisServer

NOISE = 0.25  # seconds that a busy machine may add


@pytest.fixture(scope="module")
def server():
    server = RedisServer()
    yield server
    server.kill()


@pytest.fixture
def shared(server) -> RedisCounters:
    if server.process is None:
        server.start()
    server.flush()
    counters = RedisCounters(server.url)
    yield counters
    counters.is_up = True  # its thread, if there is one, ends


def together(act, count: int) -> list:
    """What `count` threads got, that began at once."""
    results, gate = [], threading.Barrier(count)

    def run() -> None:
        gate.wait(10)
        results.append(act())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def retried(question):
    """The answer; on a machine so busy that Redis misses its 30 ms, a later one."""

    def ask():
        try:
            return [question()]
        except RedisUnavailable:
            return None

    return wait_for(ask)[0]


def test_exactly_the_limit_passes_over_two_processes_counters(server, shared):
    other = RedisCounters(server.url)
    passed = sum(retried(lambda: one.hit("key", 60)) for _ in range(50) for one in (shared, other))  # noqa: B023

    assert passed == 60
    reading = retried(lambda: other.read_minute("key", 60))
    assert reading.used == 60
    assert 0 < reading.free_in(60) <= 62
    assert retried(lambda: other.hit("another", 60))


def test_a_month_is_counted_once_it_is_known(shared):
    assert retried(lambda: shared.count_in_month("key", max_calls=3, max_bytes=None)) is None
    retried(lambda: shared.add_to_month("key", 1, 100))
    assert retried(lambda: shared.read_month("key")) is None

    retried(lambda: shared.raise_month_to("key", 1, 100))
    assert [retried(lambda: shared.count_in_month("key", max_calls=3, max_bytes=None)) for _ in range(3)] == [
        True,
        True,
        False,
    ]
    retried(lambda: shared.add_to_month("key", -1, 50))
    assert retried(lambda: shared.read_month("key")) == (2, 150)
    retried(lambda: shared.raise_month_to("key", 1, 2**40))
    assert retried(lambda: shared.read_month("key")) == (2, 2**40)
    assert retried(lambda: shared.count_in_month("key", max_calls=None, max_bytes=2**40)) is False
    assert retried(lambda: shared.count_in_month("key", max_calls=None, max_bytes=2**40 + 1)) is True


def test_in_memory_it_is_the_same():
    counters = Counters()
    assert counters.count_in_month("key", max_calls=3, max_bytes=None) is None
    counters.add_to_month("key", 1, 100)
    assert counters.read_month("key") is None

    counters.raise_month_to("key", 1, 100)
    assert [counters.count_in_month("key", max_calls=3, max_bytes=None) for _ in range(3)] == [
        True,
        True,
        False,
    ]
    counters.add_to_month("key", -1, 50)
    assert counters.read_month("key") == (2, 150)
    counters.raise_month_to("key", 1, 2**40)
    assert counters.read_month("key") == (2, 2**40)
    assert counters.count_in_month("key", max_calls=None, max_bytes=2**40) is False
    assert counters.count_in_month("key", max_calls=None, max_bytes=2**40 + 1) is True


def test_memory_counts_a_month_exactly_over_threads():
    counters = Counters()
    counters.raise_month_to("key", 0, 0)
    admitted = together(
        lambda: sum(counters.count_in_month("key", max_calls=60, max_bytes=None) for _ in range(50)), 8
    )
    assert sum(admitted) == 60


def test_nothing_waits_for_a_redis_that_is_gone(server, shared):
    counters = Counters(redis=shared)
    assert counters.hit("key", 60)
    server.kill()

    started = time.monotonic()
    assert all(counters.hit("key", 60) for _ in range(50))
    assert time.monotonic() - started < TIMEOUT + NOISE
    assert not shared.is_up

    server.start()
    assert wait_for(lambda: shared.is_up)
    assert counters.hit("key", 60)
    assert wait_for(lambda: any("key" in name for name in server.names()))


def test_nothing_waits_for_a_redis_that_hangs(server, shared):
    counters = Counters(redis=shared)
    assert counters.hit("key", 60)
    server.process.send_signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        together(lambda: counters.hit("key", 60), 20)
        assert time.monotonic() - started < TIMEOUT + NOISE
        assert not shared.is_up
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert wait_for(lambda: shared.is_up)


def test_a_redis_that_is_away_at_the_start_holds_nobody_up(server):
    server.kill()
    counters = Counters(redis=RedisCounters(server.url))
    assert [counters.hit("key", 2) for _ in range(3)] == [True, True, False]
    server.start()
    assert wait_for(lambda: counters.redis.is_up)


def test_memory_knows_about_where_redis_was(server, shared):
    counters = Counters(redis=shared)
    wait_for(lambda: shared.is_up)
    counters.raise_month_to("key", 10, 0)
    server.kill()
    assert counters.count_in_month("key", max_calls=11, max_bytes=None) is True
    assert counters.count_in_month("key", max_calls=11, max_bytes=None) is False


@pytest.mark.parametrize("scheme", ["redis", "unix"])
def test_both_kinds_of_address_are_understood(scheme):
    """Nothing listens there: it counts in memory, and the address was taken."""
    url = {"redis": "redis://user:secret@127.0.0.1:9/1", "unix": "unix:///nonexistent.sock?db=1"}[scheme]
    counters = Counters(redis=RedisCounters(url))
    assert counters.hit("key", 1)
    assert not counters.redis.is_up
    counters.redis.is_up = True


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--requirepass", "right"], "the password in REDIS_URL"),
        (["--cluster-enabled", "yes"], "a node of a Redis cluster"),
        (["--replicaof", "127.0.0.1", "9"], "a replica"),
    ],
)
def test_a_redis_that_responds_but_does_not_count_is_named_with_the_reason(options, problem, tmp_path):
    server = RedisServer(*options, directory=tmp_path)
    try:
        counters = RedisCounters(server.url.replace("//", "//:wrong@") if "right" in options else server.url)
        with pytest.raises(RedisUnavailable):
            counters.check()
        assert problem in counters.problem
        assert "wrong" not in counters.problem
    finally:
        server.kill()
        counters.is_up = True
