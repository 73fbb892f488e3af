"""Cost of the usage log: the same calls, alternately through a portal with the log and one without: `make bench`.

Without the log, nothing is recorded and no writer runs. Only this benchmark can turn it off; there is no setting.
"""

import http.client
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import psutil

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = 0.10  # of the throughput
CONNECTIONS = 4
# Two processes of the same code may differ by 4 %, so each sitting restarts both.
SITTINGS, ROUNDS, SECONDS = 6, 8, 1.0
CALL = "/api/mlflow/api/2.0/mlflow/experiments/get?experiment_id=0"
WITHOUT = """
import os, django
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
django.setup()
from proxy.usage import recording, writer
writer.start = lambda: None
recording.CallInProgress.record = lambda self, **_: None
from portal.wsgi import application
"""
APPLICATIONS = {"with": "portal.wsgi:application", "without": "without_usage_log:application"}
# Responds at once, so that the time is the portal's.
UPSTREAM = """
import asyncio, sys
BODY = b'{"experiment": {"experiment_id": "0", "name": "Default", "lifecycle_stage": "active"}}'
ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(BODY) + BODY
async def serve(reader, writer):
    try:
        while await reader.readuntil(b"\\r\\n\\r\\n"):
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
asyncio.run(main())
"""


class Turn(NamedTuple):
    """What each portal did in one turn: calls a second, milliseconds of its CPU a call."""

    rates: dict[str, float]
    costs: dict[str, float]


@contextmanager
def process(
    *command: str, log: Path | None = None, cwd: Path = ROOT, **settings: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that is stopped at the end, with its output in `log` if that is given."""
    environment = {**os.environ, **settings}
    with log.open("wb") if log else nullcontext() as out:
        running = subprocess.Popen(
            [sys.executable, *command], env=environment, cwd=cwd, stdout=out, stderr=out
        )
    try:
        yield running
    finally:
        running.terminate()
        running.wait(40)


@contextmanager
def gunicorn(folder: Path, application: str) -> Iterator[tuple[int, psutil.Process]]:
    """Start a portal that logs each call to a file; yields its port and process."""
    from portal.one_machine.ports import free_port

    port = free_port()
    command = ("-m", "gunicorn", "--config", "python:portal.server", "--log-level", "warning", application)
    places = {"PORT": str(port), "DATA_DIR": str(folder), "PYTHONPATH": f"{folder}:{ROOT}", "WORKERS": "1"}
    log = folder / f"portal-{port}.log"
    with process(*command, log=log, **places) as running:
        try:
            wait_for_port(port)
        except OSError:
            sys.stderr.write(log.read_text())
            raise
        yield port, psutil.Process(running.pid)


def wait_for_port(port: int, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/health/live")
            connection.getresponse().read()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
        finally:
            connection.close()


def load(port: int, key: str, seconds: float) -> int:
    """The number of calls that got a response."""
    counts = []

    def call() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        count, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            connection.request("GET", CALL, headers={"Authorization": f"Bearer {key}"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
            count += 1
        connection.close()
        counts.append(count)

    threads = [threading.Thread(target=call) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


def cpu(process: psutil.Process) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True)))


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
        stack.enter_context(process("-c", UPSTREAM, str(upstream)))
        subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, check=True)
        issue = [sys.executable, "manage.py", "issue_key", "--user", "alice", "--name", "bench", "--json"]
        issue += ["--requests-per-minute", "1000000"]  # so that the limit does not refuse calls
        key = json.loads(subprocess.run(issue, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)["key"]
        (folder / "without_usage_log.py").write_text(WITHOUT)
        turns: list[Turn] = []
        for number in range(SITTINGS):
            turns += sitting(folder, key, sorted(APPLICATIONS, reverse=number % 2 == 1))
        return judge(turns)


def sitting(folder: Path, key: str, order: list[str]) -> Iterator[Turn]:
    """Both portals, started in this order; then the same calls to each in turns."""
    with ExitStack() as stack:
        portals = {name: stack.enter_context(gunicorn(folder, APPLICATIONS[name])) for name in order}
        for port, _ in portals.values():
            load(port, key, 1.0)
        for turn in range(ROUNDS):
            rates, costs = {}, {}
            for name in sorted(portals, reverse=turn % 2 == 1):
                port, running = portals[name]
                before = cpu(running)
                count = load(port, key, SECONDS)
                rates[name] = count / SECONDS
                costs[name] = (cpu(running) - before) / count * 1000
            yield Turn(rates, costs)


def judge(turns: list[Turn]) -> int:
    gain = statistics.median(turn.rates["without"] / turn.rates["with"] - 1 for turn in turns)
    print(f"usage log: calls a second over {CONNECTIONS} connections, median of {len(turns)} turns")
    for name in APPLICATIONS:
        rate = statistics.median(turn.rates[name] for turn in turns)
        cost = statistics.median(turn.costs[name] for turn in turns)
        print(f"  {name:8} {rate:7.0f} calls/s   {cost:.3f} ms CPU of the portal's a call")
    print(f"  turning it off gains {gain:+.1%} (median of the turns; allowed {ALLOWED:.0%})")
    return int(gain > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
