"""The effect of one user at full speed on another: `make harm`, two minutes (SECONDS=… sets each measurement's length,
ONLY=… the kinds of calls, separated by commas).

Alice works with the stock MLflow client and a real MLflow. Bob calls as fast as his ordinary keys allow, over
CONNECTIONS connections: one kind of call after the other, then all together, at last the largest bodies over
LARGE_CONNECTIONS. The exit status is 1 if one of alice's calls fails, if her p95 is more than ALLOWED times her p95
without bob, if a worker uses more memory than MEMORY, or if a page of the portal takes more than PAGE_SECONDS. Bob's
inputs are harmless: ordinary calls, and bodies just beyond the portal's limits.

Alice works alone before each kind of call, while the same pages are read, and her p95 alone is that of all these
measurements. Bob begins half a second before she is measured.
"""

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import psutil

from benchmarks.fairness import issue, p95, quiet_portal
from benchmarks.real_mlflow import mlflow_and_database

SECONDS = float(os.environ.get("SECONDS", 5))
CONNECTIONS = 10
LARGE_CONNECTIONS = 14  # calls in flight that one user may have
ALLOWED = 2.0  # times alice's p95 without bob
MEMORY = 512 * 2**20  # bytes of the portal's worker
PAGE_SECONDS = 1.0
BOBS_SCOPES = (
    "tracking:read",
    "tracking:write",
    "registry:read",
    "artifacts:read",
    "traces:read",
    "traces:write",
    "portal:read",
)
LARGEST = "bodies of 32 MiB"
PAGES = ("/health/live", "/health", "/account/login/", "/")

ALICE = """
import json, os, sys, tempfile, time, uuid
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric
client = MlflowClient()
name = "alice-" + uuid.uuid4().hex[:8]
experiment = client.create_experiment(name)
client.create_registered_model(name)
folder = tempfile.mkdtemp()
def steps():
    run = client.create_run(experiment).info.run_id
    yield "create_run"
    client.log_param(run, "depth", 3)
    yield "log_param"
    client.log_batch(run, metrics=[Metric(f"m{i}", i, 1, 0) for i in range(20)])
    yield "log_batch"
    client.log_dict(run, {"a": 1}, "model/data.json")
    yield "log_artifact"
    client.create_model_version(name, f"runs:/{run}/model", run_id=run)
    yield "create_model_version"
    client.search_runs([experiment], max_results=10)
    yield "search_runs"
    client.download_artifacts(run, "model/data.json", folder)
    yield "download"
    client.get_run(run)
    yield "get_run"
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    end, took, failures = time.monotonic() + float(line), [], []
    while time.monotonic() < end:
        started = time.perf_counter()
        try:
            for step in steps():
                now = time.perf_counter()
                took.append((now - started) * 1000)
                started = now
        except Exception as error:
            failures.append(f"{type(error).__name__}: {str(error)[:300]}")
    print(json.dumps({"took": took, "failures": failures}), flush=True)
"""

# Raw sockets, and a lower priority than alice and the servers: on a machine of two cores, a client that is busy with
# itself would be measured instead of the portal.
BOB = """
import collections, json, os, socket, sys, threading
port, key, connections, requests = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), json.loads(sys.stdin.readline())
os.nice(10)
counts = collections.Counter()
def message(method, path, size, body):
    content = (body + " " * max(0, size - len(body.encode()))).encode()
    head = f"{method} {path} HTTP/1.1\\r\\nHost: 127.0.0.1:{port}\\r\\nAuthorization: Bearer {key}\\r\\n"
    length = f"Content-Type: application/json\\r\\nContent-Length: {len(content)}\\r\\n" if content else ""
    return f"{head}{length}\\r\\n".encode() + content
messages = [message(*request) for request in requests]
def read(connection, buffer):
    received = b""
    while b"\\r\\n\\r\\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            raise OSError("closed")
        received += piece
    head, _, rest = received.partition(b"\\r\\n\\r\\n")
    fields = head.lower()
    if b"transfer-encoding: chunked" in fields:
        tail = rest[-5:]
        while tail != b"0\\r\\n\\r\\n":
            count = connection.recv_into(buffer)
            if not count:
                raise OSError("closed")
            tail = (tail + buffer[max(0, count - 5):count])[-5:]
    else:
        left = int(fields.partition(b"content-length:")[2].split(b"\\r\\n")[0]) - len(rest)
        while left > 0:
            count = connection.recv_into(buffer)
            if not count:
                raise OSError("closed")
            left -= count
    return head[9:12].decode(), b"connection: close" in fields
def work(number):
    connection, turn, buffer = None, number, bytearray(262144)
    while True:
        try:
            connection = connection or socket.create_connection(("127.0.0.1", port), timeout=60)
            connection.sendall(messages[turn % len(messages)])
            status, is_last = read(connection, buffer)
            counts[status] += 1
            if is_last:
                connection.close()
                connection = None
        except OSError:
            counts["closed"] += 1
            connection = None
        turn += 1
for number in range(connections):
    threading.Thread(target=work, args=(number,), daemon=True).start()
sys.stdin.read()
print(json.dumps(counts))
os._exit(0)
"""

API = "/api/mlflow/api/2.0/mlflow"
Request = tuple[str, str, int, str]  # method, path, size to which spaces extend the body, body


def small_values(size: int) -> str:
    """A JSON body of `size` bytes that consists of small values."""
    return json.dumps({"run_ids": ["a"] * (size // 5)})


def largest_body() -> str:
    """A trace of 32 MiB that the portal parses, and then refuses for its id: 250,000 small values, characters that take
    four bytes in memory, and a long text."""
    info = {"trace_id": "harm", "tags": {f"{number:x}": "" for number in range(250_000)}}
    body = json.dumps({"trace": {"trace_info": info}, "unknown": "\N{GRINNING FACE}"}, ensure_ascii=False)
    return f'{body[:-2]}{"x" * (2**25 - len(body.encode()))}"}}'


def largest_bodies() -> list[Request]:
    return [("POST", "/api/mlflow/api/3.0/mlflow/traces", 0, largest_body())]


def kinds_of_calls(experiment: str) -> dict[str, list[Request]]:
    """The requests that bob sends, by kind. `experiment`: the id of one that he may read and write."""
    many = json.dumps({"experiment_ids": [str(number) for number in range(1, 202)]})
    clauses = " AND ".join(f"metrics.m{number} > 0" for number in range(60))
    wide = json.dumps({"experiment_ids": [experiment], "filter": clauses, "max_results": 50_000})
    return {
        "cheap reads": [("GET", f"{API}/experiments/get?experiment_id={experiment}", 0, "")],
        "MLflow's errors": [("GET", "/api/mlflow/graphql", 0, "")],
        "large JSON": [
            ("POST", f"{API}/runs/search", 0, small_values(70_000)),
            ("POST", f"{API}/runs/log-batch", 0, small_values(1_100_000)),
        ],
        "wide searches": [("POST", f"{API}/runs/search", 0, many), ("POST", f"{API}/runs/search", 0, wide)],
        "exports": [("GET", "/api/v1/calls/export", 0, ""), ("GET", "/api/v1/calls", 0, "")],
        "creations": [("POST", f"{API}/runs/create", 0, json.dumps({"experiment_id": experiment}))],
        "refused": [("GET", f"{API}/nowhere", 0, ""), ("DELETE", f"{API}/runs/delete", 0, "{}")],
    }


@dataclass
class Watch:
    """The portal's worker memory and its slowest page, while it runs."""

    port: int
    worker: psutil.Process
    memory: int = 0
    slowest: tuple[float, str] = (0.0, "")
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        for page in cycle(PAGES):
            self.memory = max(self.memory, self.worker.memory_info().rss)
            self.slowest = max(self.slowest, (self.seconds_for(page), page))
            if self.stopping.wait(0.1):
                return

    def seconds_for(self, page: str) -> float:
        started = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", page)
            connection.getresponse().read()
        except OSError:
            return float("inf")
        finally:
            connection.close()
        return time.perf_counter() - started


@dataclass(frozen=True, kw_only=True)
class Result:
    kind: str
    p95: float
    failures: list[str]
    statuses: dict[str, int]
    memory: int
    slowest: tuple[float, str]


class Alice:
    def __init__(self, port: int, key: str) -> None:
        environment = {
            **os.environ,
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}/api/mlflow",
            "MLFLOW_TRACKING_TOKEN": key,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", ALICE],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.read()

    def read(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def work(self, seconds: float) -> tuple[list[float], list[str]]:
        """Milliseconds of each step, and the failures."""
        assert self.process.stdin
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        done = self.read()
        return done["took"], done["failures"]


@contextmanager
def bob_calls(
    port: int, key: str, requests: list[Request], statuses: dict[str, int], *, connections: int
) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-c", BOB, str(port), key, str(connections)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(requests) + "\n")
    process.stdin.flush()
    try:
        time.sleep(0.5)  # until bob is at full speed
        yield
    finally:
        process.stdin.close()
        statuses.update(json.loads(process.stdout.readline()))
        process.wait(10)


def measure(port: int, worker: psutil.Process, keys: dict[str, str], kinds: dict[str, list[Request]]) -> int:
    alice = Alice(port, keys["alice"])
    alice.work(1.0)
    results, alone = [], list[float]()
    try:
        for kind, requests in kinds.items():
            time.sleep(1.0)  # until the calls of the kind before have ended
            with watching(Watch(port, worker)):
                took, failures = alice.work(SECONDS / 2)
            assert not failures, failures
            alone += took
            results.append(beside(alice, kind, requests, port, worker, keys["bob"]))
    finally:
        alice.process.kill()
        alice.process.wait()
    return report(results, p95(alone))


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    watcher = threading.Thread(target=watch.run)
    watcher.start()
    try:
        yield
    finally:
        watch.stopping.set()
        watcher.join()


def beside(
    alice: Alice, kind: str, requests: list[Request], port: int, worker: psutil.Process, key: str
) -> Result:
    watch, statuses = Watch(port, worker), dict[str, int]()
    connections = LARGE_CONNECTIONS if kind == LARGEST else CONNECTIONS
    with watching(watch), bob_calls(port, key, requests, statuses, connections=connections):
        took, failures = alice.work(SECONDS)
    return Result(
        kind=kind,
        p95=p95(took) if took else float("inf"),
        failures=failures,
        statuses=statuses,
        memory=watch.memory,
        slowest=watch.slowest,
    )


def report(results: list[Result], alone: float) -> int:
    """Print the table; returns 1 if a limit is exceeded."""
    print(f"alice alone: p95 {alone:.0f} ms")
    print(f"{'bob calls':18}{'p95 ratio':>10}{'failed':>8}{'MiB':>6}{'slowest page':>24}  bob's responses")
    is_bad = False
    for each in results:
        ratio, (seconds, page) = each.p95 / alone, each.slowest
        bad = ratio > ALLOWED or bool(each.failures) or each.memory > MEMORY or seconds > PAGE_SECONDS
        is_bad |= bad
        print(
            f"{each.kind:18}{ratio:10.2f}{len(each.failures):8}{each.memory / 2**20:6.0f}"
            f"{page:>16}{seconds:6.2f} s  {each.statuses}{'  <--' if bad else ''}"
        )
        for failure in each.failures[:3]:
            print(f"    {failure}")
    return int(is_bad)


def create_experiment(port: int, key: str) -> str:
    """The id of an experiment that the key creates."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection.request("POST", f"{API}/experiments/create", json.dumps({"name": "bob's"}), headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    assert response.status == 200, content
    return str(json.loads(content)["experiment_id"])


def main() -> int:
    with mlflow_and_database() as folder:
        keys = {
            "alice": issue("alice"),
            "bob": issue("bob", *(word for scope in BOBS_SCOPES for word in ("--scope", scope))),
        }
        with quiet_portal(folder) as port:
            return measure_kinds(port, keys)


def measure_kinds(port: int, keys: dict[str, str]) -> int:
    """Measure each kind of calls that is wanted."""
    [arbiter] = [child for child in psutil.Process().children() if "gunicorn" in str(child.cmdline())]
    [worker] = arbiter.children()
    kinds = kinds_of_calls(create_experiment(port, keys["bob"]))
    together = [request for requests in kinds.values() for request in requests]
    kinds |= {"all together": together, LARGEST: largest_bodies()}
    wanted = os.environ.get("ONLY", ",".join(kinds)).split(",")
    return measure(port, worker, keys, {kind: kinds[kind] for kind in wanted})


if __name__ == "__main__":
    sys.exit(main())
