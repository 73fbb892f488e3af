"""What one key can do to another user, in small: `make harm` measures it."""

import http.client
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import pytest
from mlflow.entities import Metric

from benchmarks.harm import (
    BOBS_SCOPES,
    CONNECTIONS,
    PAGE_SECONDS,
    PAGES,
    create_experiment,
    kinds_of_calls,
)
from tests.portals import Portal, wait_for

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql, pytest.mark.alone]
ROUNDS = 2
LOOP_SECONDS = 0.002  # of `cpu_seconds_of_a_loop`, on a machine for which PAGE_SECONDS is the limit


@contextmanager
def calling(running: Portal, key: str, statuses: Counter[int]) -> Iterator[None]:
    """Bob calls over CONNECTIONS connections, with every kind of call in turn, as fast as he gets responses."""
    kinds = kinds_of_calls(create_experiment(running.port, key))
    requests = [request for kind in kinds.values() for request in kind]
    stopping = Event()

    def work(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
        for method, path, size, body in itertools.cycle(requests[first:] + requests[:first]):
            if stopping.is_set():
                break
            content = body.ljust(size).encode() or None
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
            try:
                connection.request(method, path, body=content, headers=headers)
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException):
                connection.close()  # the portal may close the connection after a refusal
                continue
            statuses[response.status] += 1
        connection.close()

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        workers = [pool.submit(work, number % len(requests)) for number in range(CONNECTIONS)]
        try:
            yield
        finally:
            stopping.set()
    for worker in workers:
        worker.result()


def cpu_seconds_of_a_loop() -> float:
    started, number = time.thread_time(), 0
    while number < 50_000:
        number += 1
    return time.thread_time() - started


@contextmanager
def watching(running: Portal, seconds: dict[str, float], slowness: list[float]) -> Iterator[None]:
    """Notes the longest time that each of the portal's pages took, and how slow the machine was meanwhile."""
    stopping = Event()

    def watch() -> None:
        while not stopping.wait(0.1):
            slowness.append(cpu_seconds_of_a_loop() / LOOP_SECONDS)
            for page in PAGES:
                started = time.perf_counter()
                assert running.request("GET", page).status == 200, page
                seconds[page] = max(seconds.get(page, 0.0), time.perf_counter() - started)

    with ThreadPoolExecutor(1) as pool:
        watcher = pool.submit(watch)
        try:
            yield
        finally:
            stopping.set()
        watcher.result()


@pytest.mark.filterwarnings("ignore")
def test_no_call_of_alice_fails_and_pages_respond_while_bob_calls_as_hard_as_he_can(
    mlflow_portal, alice, monkeypatch, tmp_path
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    bob = mlflow_portal.issue("bob", *(word for scope in BOBS_SCOPES for word in ("--scope", scope)))
    client, name = alice.client, f"harm-{tmp_path.name}"
    experiment = client.create_experiment(name)
    client.create_registered_model(name)
    statuses, seconds = Counter[int](), dict[str, float]()

    slowness = list[float]()
    with calling(mlflow_portal, bob["key"], statuses), watching(mlflow_portal, seconds, slowness):
        wait_for(lambda: statuses.total(), lambda count: count >= 5 * CONNECTIONS)
        for number in range(1, ROUNDS + 1):
            run = client.create_run(experiment).info.run_id
            client.log_batch(run, metrics=[Metric(f"m{index}", index, 1, 0) for index in range(20)])
            client.log_dict(run, {"a": 1}, "model/data.json")
            version = client.create_model_version(name, f"runs:/{run}/model", run_id=run)
            assert version.version == str(number), "no creation was repeated"
            assert len(client.search_runs([experiment])) == number
            client.download_artifacts(run, "model/data.json", str(tmp_path))
            assert client.get_run(run).data.metrics["m7"] == 7

    assert statuses.keys() >= {200, 400, 404, 413, 500}, "he did each of them"
    allowed = PAGE_SECONDS * max(1.0, statistics.median(slowness))
    assert not {page: taken for page, taken in seconds.items() if taken > allowed}
