"""1 GiB up and down through the portal and through nginx without buffering: `python -m benchmarks.transfers`,
three minutes.

Both forward to the same real MLflow, in turns, everything switched on in the portal, with the digest of each file. A
ratio is the median of the rounds' ratios of throughput. The memory is how much the portal's worker grows at most, over
what it has after a transfer of 1 MiB. BYTES=… and ROUNDS=… set the length; MLFLOW=instant takes a stand-in that accepts
and sends bytes at once in place of MLflow.
"""

import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from benchmarks import artifacts
from benchmarks.fairness import issue
from benchmarks.real_mlflow import mlflow_and_database
from benchmarks.results import Row, median_ratio, report_rows
from benchmarks.usage_log import process, wait_for_port

SIZE, ROUNDS = int(os.environ.get("BYTES", 2**30)), int(os.environ.get("ROUNDS", 3))
LEAST, MOST_MIB = 0.95, 8.0
Transfer = Callable[[int, str], float]
STAND_IN = """
import sys
from http.server import ThreadingHTTPServer
from benchmarks.artifacts import StandIn
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), StandIn).serve_forever()
"""


def main() -> int:
    from portal.one_machine.ports import free_port

    settings = {"DEFAULT_REQUESTS_PER_MINUTE": "1000000", "ISOLATION": "off"}
    with mlflow_and_database(**settings) as folder, ExitStack() as stack:
        if os.environ.get("MLFLOW") == "instant":
            port = free_port()
            stack.enter_context(process("-c", STAND_IN, str(port), BYTES=str(SIZE)))
            os.environ["MLFLOW_URL"] = f"http://127.0.0.1:{port}"
            wait_for_port(port)
        key = issue("alice", "--any-owner", "--preset", "full")
        port, running = stack.enter_context(portal(folder))
        ports = {"portal": port, "nginx": stack.enter_context(nginx(folder))}
        transfers: dict[str, Transfer] = {"upload": artifacts.upload, "download": artifacts.download}
        artifacts.SIZE = 2**20
        for transfer in transfers.values():
            transfer(port, key)
        artifacts.SIZE = SIZE
        with memory_of(running) as grown:
            found = measure(ports, key, transfers)
        return report(found, grown[0])


def measure(
    ports: dict[str, int], key: str, transfers: dict[str, Transfer]
) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {what: {name: [] for name in ports} for what in transfers}
    for number in range(ROUNDS):
        for what, transfer in transfers.items():
            for name in sorted(ports, reverse=number % 2 == 1):
                found[what][name].append(transfer(ports[name], key))
    return found


def report(found: dict[str, dict[str, list[float]]], grown: float) -> int:
    rows = []
    for what, seconds in found.items():
        rates = {name: SIZE / statistics.median(values) / 2**20 for name, values in seconds.items()}
        rows.append(
            Row(
                what=f"{what} of {SIZE // 2**20:,} MiB / nginx unbuffered",
                result=median_ratio(seconds["nginx"], seconds["portal"]),
                least=LEAST,
                detail=f"{rates['portal']:,.0f} and {rates['nginx']:,.0f} MiB/s",
            )
        )
    rows.append(Row(what="MiB that a worker grows meanwhile", result=grown, most=MOST_MIB))
    return report_rows(*rows)


@contextmanager
def memory_of(worker: psutil.Process) -> Iterator[list[float]]:
    """A list whose only item is how many MiB the process has grown at most."""
    before, grown, ended = worker.memory_info().rss, [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            grown[0] = max(grown[0], (worker.memory_info().rss - before) / 2**20)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield grown
    finally:
        ended.set()
        watcher.join()


@contextmanager
def portal(folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """The port of a portal, and its worker."""
    from portal.one_machine.ports import free_port

    port = free_port()
    command = ("-m", "gunicorn", "--config", "python:portal.server", "portal.wsgi:application")
    with process(*command, log=folder / "portal.log", PORT=str(port), WORKERS="1") as running:
        wait_for_port(port)
        yield port, psutil.Process(running.pid).children()[0]


@contextmanager
def nginx(folder: Path) -> Iterator[int]:
    """nginx that forwards every byte as it comes."""
    from portal.one_machine.ports import free_port

    port, place = free_port(), folder / "nginx"
    place.mkdir()
    temporary = " ".join(
        f"{name}_temp_path {place}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (place / "nginx.conf").write_text(f"""
    daemon off; worker_processes 1; pid {place}/pid; error_log {place}/error.log;
    events {{ worker_connections 256; }}
    http {{
      access_log off; {temporary} client_max_body_size 0;
      server {{ listen 127.0.0.1:{port};
        location /api/mlflow/ {{
          proxy_request_buffering off; proxy_buffering off; proxy_http_version 1.1;
          proxy_set_header Connection ""; proxy_set_header Authorization ""; proxy_read_timeout 600s;
          proxy_pass {os.environ["MLFLOW_URL"]}/; }} }} }}
    """)
    running = subprocess.Popen(["nginx", "-c", str(place / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield port
    finally:
        running.terminate()
        running.wait(10)


if __name__ == "__main__":
    sys.exit(main())
