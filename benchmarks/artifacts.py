"""Upload and download of 1 GiB through this build and another one: `python -m benchmarks.artifacts OTHER`.

OTHER is a checkout of the other build, for example made by `git worktree add ../before COMMIT`. MLflow's stand-in takes
every byte and sends the same ones, so that the portal is what is measured; MLFLOW_URL names a real MLflow instead. Each
round measures both builds in turn, and the best round counts. The exit status is 1 if this build has less than 0.85 of
the other's throughput.
"""

import http.client
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from portal.one_machine.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
SIZE, BLOCK = int(os.environ.get("BYTES", 2**30)), bytes(2**20)
ROUNDS, ALLOWED = int(os.environ.get("ROUNDS", 4)), 0.85
TARGET = "/api/mlflow/api/2.0/mlflow-artifacts/artifacts/1/" + "0" * 32 + "/artifacts/model/weights.bin"


class StandIn(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        left = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, len(BLOCK))))
        self.send(b"{}")

    def do_GET(self) -> None:
        if "artifacts/1/" not in self.path:
            self.send(b"3.17.2")
            return
        self.send_response(200)
        self.send_header("Content-Length", str(SIZE))
        self.end_headers()
        for _ in range(SIZE // len(BLOCK)):
            self.wfile.write(BLOCK)

    def send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def build(checkout: Path, database_url: str, mlflow_url: str) -> Iterator[tuple[int, str, int]]:
    """The port of a running portal of this checkout, a key, and its process."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "MLFLOW_URL": mlflow_url,
            "ISOLATION": "off",
            "DATA_DIR": folder,
            "PORT": str(port),
            "PUBLIC_URL": f"http://127.0.0.1:{port}",
            "SECRET_KEY": secrets.token_urlsafe(50),
            "KEY_PEPPERS": secrets.token_urlsafe(32),
            "PYTHONWARNINGS": "ignore",
        }

        def run(*arguments: str) -> bytes:
            command = [sys.executable, *arguments]
            return subprocess.run(
                command, cwd=checkout, env=environment, check=True, stdout=subprocess.PIPE
            ).stdout

        run("manage.py", "migrate", "--verbosity", "0")
        told = run(
            "manage.py",
            "issue_key",
            "--user",
            "a",
            "--name",
            "b",
            "--preset",
            "full",
            "--any-owner",
            "--json",
        )
        command = [
            sys.executable,
            "-m",
            "gunicorn",
            "--config",
            "python:portal.server",
            "portal.wsgi:application",
        ]
        with open(os.devnull, "wb") as nothing:
            process = subprocess.Popen(command, cwd=checkout, env=environment, stdout=nothing, stderr=nothing)
        try:
            wait(port)
            yield port, json.loads(told)["key"], process.pid
        finally:
            process.terminate()
            process.wait(60)


def wait(port: int) -> None:
    for _ in range(600):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit("the portal did not start")


def upload(port: int, key: str) -> float:
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.putrequest("PUT", TARGET)
    connection.putheader("Authorization", f"Bearer {key}")
    connection.putheader("Content-Length", str(SIZE))
    connection.endheaders()
    for _ in range(SIZE // len(BLOCK)):
        connection.send(BLOCK)
    assert connection.getresponse().status == 200
    return time.perf_counter() - started


def download(port: int, key: str) -> float:
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("GET", TARGET, headers={"Authorization": f"Bearer {key}"})
    response, count = connection.getresponse(), 0
    while piece := response.read(len(BLOCK)):
        count += len(piece)
    assert count == SIZE
    return time.perf_counter() - started


def main(other: Path) -> int:
    from psycopg import connect

    from portal.one_machine.postgres import create_database, running_postgres

    server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    mlflow_url = os.environ.get("MLFLOW_URL") or f"http://127.0.0.1:{server.server_port}"
    with tempfile.TemporaryDirectory() as folder, running_postgres(Path(folder), settings={}) as postgres:
        for name in ("this", "other"):
            with connect(postgres.url("postgres"), autocommit=True) as connection:
                create_database(connection, name)
        with (
            build(ROOT, postgres.url("this"), mlflow_url) as this,
            build(other, postgres.url("other"), mlflow_url) as before,
        ):
            return report({"this": this, "other": before})


def processor_seconds(pid: int) -> float:
    """Of the portal and its workers, so far."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))


def report(builds: dict[str, tuple[int, str, int]]) -> int:
    taken: dict[str, dict[str, list[float]]] = {"upload": {}, "download": {}}
    used: dict[str, dict[str, list[float]]] = {"upload": {}, "download": {}}
    for _ in range(ROUNDS):
        for what, transfer in (("upload", upload), ("download", download)):
            for name, (port, key, pid) in builds.items():
                before = processor_seconds(pid)
                taken[what].setdefault(name, []).append(transfer(port, key))
                used[what].setdefault(name, []).append(processor_seconds(pid) - before)
    print(
        f"| best of {ROUNDS}, {SIZE:,} bytes | other | this | ratio | processor, other | processor, this |\n"
        "|---|---|---|---|---|---|"
    )
    worst = 9.0
    for what, times in taken.items():
        before, now = min(times["other"]), min(times["this"])
        worst = min(worst, before / now)
        processor = " | ".join(f"{min(used[what][name]):.2f} s" for name in ("other", "this"))
        print(f"| {what} | {before:.2f} s | {now:.2f} s | {before / now:.2f} | {processor} |")
    return int(worst < ALLOWED)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
