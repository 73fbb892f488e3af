"""Ten minutes at 80 % of the machine's capacity: `make soak` (MINUTES=… for another length).

Reads, logs metrics, and uploads and downloads artifacts over CONNECTIONS connections. The rate is a share of the rate
that it measures first. The exit status is 1 if a call fails, if the portal's memory grows by more than GROWTH after the
first minute, or if a call that got a response is not in the usage log exactly once.
"""

import http.client
import itertools
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.usage_log import CALL, ROOT, gunicorn, process

MINUTES = float(os.environ.get("MINUTES", 10))
SHARE = 0.8  # of the machine's capacity
CONNECTIONS = 8
GROWTH = 0.05  # of the memory at the end of the first minute
SAMPLE_SECONDS = 2.0
RUN = "5" * 32
ARTIFACT = f"/api/mlflow/api/2.0/mlflow-artifacts/artifacts/1/{RUN}/artifacts/weights.bin"
METRIC = json.dumps({"run_id": RUN, "key": "loss", "value": 0.5, "timestamp": 1}).encode()
READ = ("GET", CALL, b"")
MIX = [
    *[READ] * 13,
    *[("POST", "/api/mlflow/api/2.0/mlflow/runs/log-metric", METRIC)] * 5,
    ("PUT", ARTIFACT, secrets.token_bytes(256 * 1024)),
    ("GET", ARTIFACT, b""),
]
# Reads the whole request and responds at once: 256 KiB for an artifact, otherwise JSON.
UPSTREAM = """
import asyncio, re, sys
JSON = b'{"experiment": {"experiment_id": "0", "name": "Default", "lifecycle_stage": "active"}}'
BYTES = bytes(256 * 1024)
def answer(kind, body):
    head = b"HTTP/1.1 200 OK\\r\\nContent-Type: %s\\r\\nContent-Length: %d\\r\\n\\r\\n"
    return head % (kind, len(body)) + body
JSON, BYTES = answer(b"application/json", JSON), answer(b"application/octet-stream", BYTES)
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            length = re.search(rb"(?i)content-length: *(\\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            writer.write(BYTES if head.startswith(b"GET ") and b"/artifacts/" in head else JSON)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), limit=2**20)
    await server.serve_forever()
asyncio.run(main())
"""


@dataclass
class Load:
    """Callers that together make `rate` calls per second, or as many as possible if it is None."""

    port: int
    key: str
    rate: float | None
    seconds: float
    answered: list[str] = field(default_factory=list)  # request ids
    failures: Counter[str] = field(default_factory=Counter)

    def run(self) -> float:
        """Responses per second."""
        started = time.monotonic()
        threads = [
            threading.Thread(target=self.call, args=[number, started]) for number in range(CONNECTIONS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(self.answered) / (time.monotonic() - started)

    def call(self, number: int, started: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        due = started
        for method, path, body in itertools.islice(itertools.cycle(MIX), number, None):
            if time.monotonic() - started > self.seconds:
                break
            if self.rate is not None:
                due = max(
                    due + CONNECTIONS / self.rate, time.monotonic() - 1.0
                )  # skipped calls are not made up for
                time.sleep(max(0.0, due - time.monotonic()))
            self.answered += self.answer(connection, method, path, body)
        connection.close()

    def answer(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes
    ) -> list[str]:
        kind = "application/json" if method == "POST" else "application/octet-stream"
        headers = {"Authorization": f"Bearer {self.key}", **({"Content-Type": kind} if body else {})}
        try:
            connection.request(method, path, body=body or None, headers=headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.failures[type(error).__name__] += 1
            connection.close()
            return []
        if response.status != 200:
            self.failures[f"{response.status} {content[:200].decode(errors='replace')}"] += 1
        return [str(response.headers["X-Request-ID"])]


def memory(portal: psutil.Process) -> float:
    """Memory of the portal's processes in MiB."""
    processes = (portal, *portal.children(recursive=True))
    return float(sum(one.memory_info().rss for one in processes)) / 2**20


def watch(portal: psutil.Process, samples: list[tuple[float, float]], stop: threading.Event) -> None:
    started = time.monotonic()
    while not stop.wait(SAMPLE_SECONDS):
        samples.append((time.monotonic() - started, memory(portal)))


def logged(database_url: str) -> Counter[str]:
    import psycopg

    with psycopg.connect(database_url) as connection, connection.cursor(name="soak") as cursor:
        cursor.itersize = 50_000
        return Counter(name for (name,) in cursor.execute("SELECT request_id FROM proxy_call"))


def wait_until_logged(database_url: str, port: int, answered: list[str]) -> tuple[int, int]:
    """Wait until the spool is empty. Returns how many completed calls the log lacks and how many it has twice."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/health")
        if json.loads(connection.getresponse().read())["checks"]["spool"]["backlog"] == 0:
            break
        time.sleep(0.2)
    rows = logged(database_url)
    return sum(name not in rows for name in answered), sum(count > 1 for count in rows.values())


def soak(port: int, portal: psutil.Process, key: str, database_url: str) -> int:
    Load(port, key, None, 5.0).run()  # warm-up
    most = Load(port, key, None, 15.0).run()
    print(
        f"the machine takes {most:.0f} calls a second; {MINUTES:g} minutes at {SHARE:.0%} of it", flush=True
    )
    samples: list[tuple[float, float]] = []
    stop = threading.Event()
    watching = threading.Thread(target=watch, args=[portal, samples, stop])
    watching.start()
    load = Load(port, key, SHARE * most, MINUTES * 60)
    rate = load.run()
    stop.set()
    watching.join()
    first = statistics.median(size for at, size in samples if MINUTES * 4 < at <= max(60, MINUTES * 6))
    last = statistics.median(size for at, size in samples if at > MINUTES * 54)
    missing, doubled = wait_until_logged(database_url, port, load.answered)
    for about, count in load.failures.most_common(5):
        print(f"  failed {count} times: {about}")
    print(f"  {len(load.answered):,} calls answered, {rate:.0f} a second; {load.failures.total()} failed")
    print(
        f"  memory {first:.0f} MiB after the first minute, {last:.0f} MiB at the end ({last / first - 1:+.1%})"
    )
    print(f"  {missing} answered calls are not in the log, {doubled} are there twice")
    return int(bool(load.failures or missing or doubled or last / first - 1 > GROWTH))


def main() -> int:
    from portal.one_machine.ports import free_port
    from portal.one_machine.postgres import running_postgres

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(running_postgres(folder / "postgresql"))
        upstream, database_url = free_port(), server.url("portal")
        os.environ |= {
            "DATABASE_URL": database_url,
            "MLFLOW_URL": f"http://127.0.0.1:{upstream}",
            "SECRET_KEY": secrets.token_urlsafe(50),
            "KEY_PEPPERS": secrets.token_urlsafe(32),
            "DATA_DIR": str(folder),
            "DEFAULT_REQUESTS_PER_MINUTE": "1000000",
        }
        stack.enter_context(process("-c", UPSTREAM, str(upstream)))
        subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, check=True)
        issue = [sys.executable, "manage.py", "issue_key", "--user", "alice", "--name", "soak", "--any-owner"]
        issued = subprocess.run([*issue, "--json"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
        key = json.loads(issued.stdout)["key"]
        port, portal = stack.enter_context(gunicorn(folder, "portal.wsgi:application"))
        return soak(port, portal, key, database_url)


if __name__ == "__main__":
    sys.exit(main())
