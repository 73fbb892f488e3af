"""What `manage.py check` warns of."""

import pytest

from portal import checks


@pytest.mark.parametrize(("workers", "redis", "count"), [(1, "", 0), (2, "redis://redis", 0), (2, "", 1)])
def test_processes_that_count_for_themselves_are_told_of(workers, redis, count, settings):
    settings.WORKERS, settings.REDIS_URL = workers, redis
    found = checks.limits_are_shared(None)

    assert len(found) == count
    assert all("REDIS_URL" in message.msg and message.hint for message in found)


@pytest.mark.parametrize(("threads", "most", "count"), [(32, 28, 0), (1, 1, 0), (32, 32, 1)])
def test_transfers_that_may_take_every_thread_are_told_of(threads, most, count, settings):
    settings.THREADS, settings.MAX_IN_FLIGHT = threads, most

    assert len(checks.pages_have_threads(None)) == count
