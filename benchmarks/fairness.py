"""The p99 of a quiet caller, alternately alone and beside a noisy caller: `make fairness`.

The noisy caller is a separate process. Some of its connections call and others upload files, all of them without a
pause and with one key. Its 429 and 503 count as responses, because the portal uses them to limit a caller.
"""

import http.client
import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.usage_log import CALL, ROOT, process, wait_for_port

ALLOWED = 2.0
ROUNDS, SECONDS, PAUSE = 9, 4.0, 0.01
CALLERS, UPLOADERS, UPLOAD_BYTES = 4, 8, 64 * 2**20
UPLOAD = "/api/mlflow/api/2.0/mlflow-artifacts/artifacts/1/" + "a" * 32 + "/artifacts/big"
# MLflow takes about 12 ms for a call, and accepts uploads at any speed.
UPSTREAM = """
import asyncio, re, sys
BODY = b'{"experiment": {"experiment_id": "0", "name": "Default", "lifecycle_stage": "active"}}'
ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(BODY) + BODY
async def serve(reader, writer):
    try:
        while head := await reader.readuntil(b"\\r\\n\\r\\n"):
            length = re.search(rb"(?i)content-length: (\\d+)", head)
            left = int(length[1]) if length else 0
            if not left:
                await asyncio.sleep(float(sys.argv[2]))
            while left:
                left -= len(await reader.read(min(left, 2**20)))
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), limit=2**20)
    await server.serve_forever()
asyncio.run(main())
"""
NOISY = """
import collections, http.client, os, sys, threading, time
port, key, call, upload, callers, uploaders, size = sys.argv[1:]
counts = collections.Counter()
block = bytes(2**20)
def pieces():
    for _ in range(int(size) // len(block)):
        yield block
def work(method, path, has_body):
    connection = None
    while True:
        try:
            connection = connection or http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
            headers = {"Authorization": f"Bearer {key}"}
            if has_body:
                headers["Content-Length"] = size
            connection.request(method, path, body=pieces() if has_body else None, headers=headers)
            answer = connection.getresponse()
            answer.read()
            counts[f"{method} {answer.status}"] += 1
            if answer.status in (429, 503):
                time.sleep(0.05)  # real clients wait longer
        except OSError:
            connection = None
for _ in range(int(callers)):
    threading.Thread(target=work, args=("GET", call, False), daemon=True).start()
for _ in range(int(uploaders)):
    threading.Thread(target=work, args=("PUT", upload, True), daemon=True).start()
sys.stdin.read()
print(dict(counts))
os._exit(0)
"""


def latencies(port: int, key: str, seconds: float) -> list[float]:
    """Milliseconds of each call of the quiet caller, which calls at intervals."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    took, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.perf_counter()
        connection.request("GET", CALL, headers={"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        took.append((time.perf_counter() - started) * 1000)
        time.sleep(PAUSE)
    connection.close()
    return took


def p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def main() -> int:
    from portal.one_machine.ports import free_port
    from portal.one_machine.postgres import running_postgres

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(running_postgres(folder / "postgresql"))
        upstream = free_port()
        os.environ |= {
            "DATABASE_URL": server.url("portal"),
            "MLFLOW_URL": f"http://127.0.0.1:{upstream}",
            "SECRET_KEY": secrets.token_urlsafe(50),
            "KEY_PEPPERS": secrets.token_urlsafe(32),
            "DATA_DIR": str(folder),
        }
        delay = os.environ.get("UPSTREAM_SECONDS", "0.012")
        stack.enter_context(process("-c", UPSTREAM, str(upstream), delay))
        subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, check=True)
        noisy, quiet = issue("noisy", "--any-owner"), issue("quiet", "--any-owner")
        port = stack.enter_context(quiet_portal(folder))
        return compare(port, noisy, quiet)


@contextmanager
def quiet_portal(folder: Path) -> Iterator[int]:
    """Start a portal that discards its log; yields its port."""
    from portal.one_machine.ports import free_port

    port = free_port()
    places = {"PORT": str(port), "DATA_DIR": str(folder), "WORKERS": "1"}
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--config",
        "python:portal.server",
        "portal.wsgi:application",
    ]
    nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = subprocess.Popen(command, env={**os.environ, **places}, cwd=ROOT, **nowhere)
    try:
        wait_for_port(port)
        yield port
    finally:
        running.terminate()
        running.wait(60)


def issue(user: str, *options: str) -> str:
    command = [
        sys.executable,
        "manage.py",
        "issue_key",
        "--user",
        user,
        "--name",
        "bench",
        "--json",
        *options,
    ]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return str(json.loads(done.stdout)["key"])


def compare(port: int, noisy: str, quiet: str) -> int:
    arguments = [str(port), noisy, CALL, UPLOAD, str(CALLERS), str(UPLOADERS), str(UPLOAD_BYTES)]
    caller = subprocess.Popen([sys.executable, "-c", NOISY, *arguments], stdin=subprocess.PIPE)
    alone: list[float] = []
    beside: list[float] = []
    ratios = []
    try:
        caller.send_signal(signal.SIGSTOP)
        latencies(port, quiet, 1.0)
        for _ in range(ROUNDS):
            before = latencies(port, quiet, SECONDS)
            caller.send_signal(signal.SIGCONT)
            time.sleep(0.5)
            during = latencies(port, quiet, SECONDS)
            caller.send_signal(signal.SIGSTOP)
            time.sleep(0.5)
            ratios.append(p99(during) / p99(before))
            alone += before
            beside += during
    finally:
        caller.send_signal(signal.SIGCONT)
        assert caller.stdin
        caller.stdin.close()
        caller.wait(10)
    ratio = statistics.median(ratios)
    for name, values in (("alone", alone), ("beside", beside)):
        print(f"  {name:8} median {statistics.median(values):6.1f} ms   p99 {p99(values):6.1f} ms")
    print(
        f"  p99 is {ratio:.2f} times as long beside the noisy caller (median of {ROUNDS} turns; allowed {ALLOWED})"
    )
    return int(ratio >= ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
