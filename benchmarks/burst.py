"""A burst of one key against a real MLflow: `python -m benchmarks.burst`, two minutes.

CALLERS programs with one key start together, each with CALLS calls in a row, without any retry. None may be refused or
lost. Then the same with fewer calls, while another key makes one call after the other; its p95 is compared with its p95
alone, before the burst. The share of MLflow's time (`proxy.upstream.time_share`) makes the burst wait longer then.
"""

import collections
import http.client
import os
import sys
import threading
import time

from benchmarks.callers import API
from benchmarks.fairness import issue, p95, quiet_portal
from benchmarks.real_mlflow import mlflow_and_database
from benchmarks.results import Row, save

CALLERS, CALLS = int(os.environ.get("CALLERS", 64)), int(os.environ.get("CALLS", 200))
BESIDE = int(os.environ.get("BESIDE", 20))  # calls of each while another key calls
ALONE = int(os.environ.get("ALONE", 200))  # calls of the other key before the burst
ALLOWED = 2.0  # times the other key's p95 alone
TARGET = f"{API}/experiments/get?experiment_id=0"


def call(connection: http.client.HTTPConnection, key: str) -> int:
    connection.request("GET", TARGET, headers={"Authorization": f"Bearer {key}"})
    response = connection.getresponse()
    response.read()
    return response.status


def burst(port: int, key: str, calls: int) -> tuple[collections.Counter[str], float, float]:
    """The statuses of all calls, the seconds that they took together, and those of the slowest one."""
    counts: collections.Counter[str] = collections.Counter()
    slowest = [0.0] * CALLERS
    together = threading.Barrier(CALLERS)

    def work(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        together.wait()
        for _ in range(calls):
            started = time.perf_counter()
            try:
                counts[str(call(connection, key))] += 1
            except (OSError, http.client.HTTPException) as error:
                counts[type(error).__name__] += 1
                connection.close()
            slowest[number] = max(slowest[number], time.perf_counter() - started)
        connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(CALLERS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counts, time.perf_counter() - began, max(slowest)


def read_alone(port: int, key: str, until: threading.Event, most: int = sys.maxsize) -> list[float]:
    """The milliseconds of calls in a row, until the event or so many."""
    connection, took = http.client.HTTPConnection("127.0.0.1", port, timeout=60), []
    while len(took) < most and not until.is_set():
        started = time.perf_counter()
        assert call(connection, key) == 200
        took.append((time.perf_counter() - started) * 1000)
        time.sleep(0.01)
    connection.close()
    return took


def measure(port: int, noisy: str, quiet: str) -> int:
    ended = threading.Event()
    alone = read_alone(port, quiet, ended, ALONE)
    time.sleep(2)  # then nobody else is active
    failures = report("nobody else calls", *burst(port, noisy, CALLS), calls=CALLS)
    beside: list[float] = []
    reader = threading.Thread(target=lambda: beside.extend(read_alone(port, quiet, ended)))
    reader.start()
    others = report("another key calls", *burst(port, noisy, BESIDE), calls=BESIDE)
    ended.set()
    reader.join()
    ratio = p95(beside) / p95(alone)
    print(f"  the other key: p95 {p95(alone):.1f} ms alone, {p95(beside):.1f} ms beside: {ratio:.2f} times")
    save(
        Row(
            what=f"refused or lost of {CALLERS} × {CALLS:,} calls of one key, real MLflow",
            result=failures,
            most=0,
        ),
        Row(what=f"the same with {BESIDE} each while another key calls", result=others, most=0),
        Row(what="p95 of another key beside them / alone", result=ratio, most=ALLOWED),
    )
    return int(failures + others > 0 or ratio > ALLOWED)


def report(when: str, counts: collections.Counter[str], seconds: float, slowest: float, *, calls: int) -> int:
    """Print the result of a burst; how many calls were refused or lost."""
    total = CALLERS * calls
    refused, lost = sum(counts.values()) - counts["200"], total - sum(counts.values())
    print(f"  {when}: {CALLERS} callers with one key, {calls} calls each: {dict(counts)}", flush=True)
    print(
        f"    refused {refused}, lost {lost}, {total / seconds:.0f} calls/s, the slowest {slowest:.2f} s",
        flush=True,
    )
    return refused + lost


def main() -> int:
    # Experiment 0 is in MLflow's own workspace.
    settings = {"DEFAULT_REQUESTS_PER_MINUTE": "1000000", "ISOLATION": "off"}
    with mlflow_and_database(**settings) as folder:
        noisy, quiet = issue("noisy", "--any-owner"), issue("quiet", "--any-owner")
        with quiet_portal(folder) as port:
            return measure(port, noisy, quiet)


if __name__ == "__main__":
    sys.exit(main())
