"""CPU time of a call through the portal, side by side with the previous release and other ways: `make bench`.

All servers run at once and get the same calls in turns: a JSON read (GET) and `runs/log-metric` on a run that the key
owns (POST), over CONNECTIONS connections. The upstream responds at once. CPU time is that of the server's processes,
user and system, from /proc. Every round gives one ratio; the result is their median. So other work on the machine
changes the figures, but hardly the ratios.

PREVIOUS=… names the commit of the previous release (default: the one below). ONLY=portal,previous selects servers,
ROUNDS=… and CALLS=… set the length.
"""

import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg

from benchmarks import plain_proxy
from benchmarks.callers import (
    Requests,
    create_experiment,
    create_run,
    log_metric,
    read_experiment,
    run_calls,
    send_one,
)
from benchmarks.results import Row, save
from benchmarks.usage_log import ROOT, cpu, process, wait_for_port
from portal.one_machine.ports import free_port
from portal.one_machine.postgres import Postgres, create_database, running_postgres

PREVIOUS = os.environ.get("PREVIOUS", "d2315c1")
ROUNDS, CALLS = int(os.environ.get("ROUNDS", 7)), int(os.environ.get("CALLS", 1000))
CONNECTIONS = 4
# Server, kind of call, the server that it is compared with, and the largest ratio that it should have.
TARGETS = (
    ("portal", "GET", "previous", 0.33),
    ("portal", "POST", "previous", 0.40),
    ("portal", "GET", "plain", 0.30),
    ("portal", "GET", "nginx", None),
)
NAMES = {
    "previous": f"the previous release ({PREVIOUS})",
    "plain": "plain `ProxyView` with one SELECT and one INSERT",
    "nginx": "nginx with a static key",
}
KINDS = {"GET": "JSON GET", "POST": "POST `runs/log-metric` with ownership, attribution and log"}
# Responds at once, as an MLflow with workspaces, with a new run for a creation.
UPSTREAM = """
import asyncio, re, secrets, sys
EXPERIMENT = b'{"experiment": {"experiment_id": "1", "name": "Default", "lifecycle_stage": "active"}}'
INFO = b'{"store_type": "SqlStore", "workspaces_enabled": true}'
RUN = b'{"run": {"info": {"run_id": "%s", "experiment_id": "1", "status": "RUNNING"}, "data": {}}}'
HEAD = b"HTTP/1.1 200 OK\\r\\ndate: Mon, 30 Nov 2026 09:00:00 GMT\\r\\nserver: uvicorn\\r\\n" \\
    b"content-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n"
LENGTH = re.compile(rb"(?i)content-length: (\\d+)")
class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.received = transport, b""
    def data_received(self, piece):
        self.received += piece
        while (end := self.received.find(b"\\r\\n\\r\\n")) >= 0:
            length = LENGTH.search(self.received, 0, end)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self.received) < size:
                return
            body = RUN % secrets.token_hex(16).encode() if b"runs/create" in self.received[:end] else \\
                b"{}" if b"log-metric" in self.received[:end] else \\
                b'{"experiment_id": "1"}' if b"experiments/create" in self.received[:end] else \\
                INFO if b"server-info" in self.received[:end] else EXPERIMENT
            self.transport.write(HEAD % len(body) + body)
            self.received = self.received[size:]
async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
asyncio.run(main())
"""


@dataclass
class Server:
    """A server, the requests that it gets, and the CPU milliseconds of a call in each round."""

    name: str
    port: int
    process: psutil.Process
    requests: dict[str, Requests]
    costs: dict[str, list[float]] = field(default_factory=dict)
    rates: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, kind: str) -> None:
        before = cpu(self.process)
        took = run_calls(self.port, self.requests[kind], calls=CALLS, connections=CONNECTIONS)
        self.costs.setdefault(kind, []).append((cpu(self.process) - before) / CALLS * 1000)
        self.rates.setdefault(kind, []).append(CALLS / took.seconds)


def main() -> int:
    with ExitStack() as stack:
        folder, database, upstream = prepare(stack, databases=("previous", "plain"))
        starts: dict[str, Callable[[], Server]] = {
            "portal": lambda: stack.enter_context(portal(folder, database.url("portal"), "portal", ROOT)),
            "previous": lambda: stack.enter_context(
                portal(folder, database.url("previous"), "previous", previous_release(folder))
            ),
            "plain": lambda: stack.enter_context(plain(folder, database.url("plain"))),
            "nginx": lambda: stack.enter_context(nginx(folder, upstream)),
        }
        only = os.environ.get("ONLY", ",".join(starts)).split(",")
        servers = {name: start() for name, start in starts.items() if name in only}
        report(measure(servers))
        return 0


def prepare(stack: ExitStack, *, databases: tuple[str, ...] = ()) -> tuple[Path, Postgres, int]:
    """A folder, a PostgreSQL with these databases beside `portal`, and the port of an upstream, which portals get by
    their environment."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    database = stack.enter_context(running_postgres(folder / "postgresql"))
    with psycopg.connect(database.url("postgres"), autocommit=True) as connection:
        for name in databases:
            create_database(connection, name)
    upstream = free_port()
    os.environ |= {
        "MLFLOW_URL": f"http://127.0.0.1:{upstream}",
        "ISOLATION": "required",  # as a portal is run; releases before organisations do not know it
        "SECRET_KEY": secrets.token_urlsafe(50),
        "KEY_PEPPERS": secrets.token_urlsafe(32),
    }
    stack.enter_context(process("-c", UPSTREAM, str(upstream)))
    return folder, database, upstream


def measure(servers: dict[str, Server]) -> dict[str, Server]:
    for number in range(ROUNDS + 1):
        for kind in ("GET", "POST"):
            for name in sorted(servers, reverse=number % 2 == 1):
                if kind in servers[name].requests:
                    servers[name].measure(kind)
        if number == 0:  # the first one warms up
            for server in servers.values():
                server.costs, server.rates = {}, {}
    return servers


def report(servers: dict[str, Server]) -> None:
    """Print the costs and their ratios, and which ratios miss their target."""
    for server in servers.values():
        for kind, costs in server.costs.items():
            cost, rate = statistics.median(costs), statistics.median(server.rates[kind])
            print(f"  {server.name:9} {kind:4}  {cost:6.3f} ms CPU a call   {rate:5.0f} calls/s")
    for name, kind, other, most in TARGETS:
        if name not in servers or other not in servers:
            continue
        pairs = zip(servers[name].costs[kind], servers[other].costs[kind], strict=True)
        ratio = statistics.median(cost / max(base, 1e-6) for cost, base in pairs)
        own, base = (statistics.median(servers[each].costs[kind]) for each in (name, other))
        save(
            Row(
                what=f"CPU of a {KINDS[kind]} / {NAMES[other]}",
                result=ratio,
                most=most,
                detail=f"{own:.2f} and {base:.2f} ms",
            )
        )
        verdict = f" (at most {most}: {'missed' if ratio > most else 'met'})" if most else ""
        print(f"  {kind} {name} / {other}: {ratio:.3f}{verdict}")


def previous_release(folder: Path) -> Path:
    """A copy of the previous release."""
    target = folder / "release"
    target.mkdir()
    archive = subprocess.run(
        ["git", "archive", PREVIOUS], cwd=ROOT, check=True, stdout=subprocess.PIPE
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(target)], input=archive, check=True)
    return target


@contextmanager
def portal(folder: Path, database_url: str, name: str, root: Path) -> Iterator[Server]:
    """A portal with this source code, with everything switched on."""
    port = free_port()
    places = {
        "DATABASE_URL": database_url,
        "DATA_DIR": str(folder / f"data-{name}"),
        "PORT": str(port),
        "WORKERS": "1",
        "PYTHONPATH": str(root),
    }
    manage = [sys.executable, "manage.py"]
    environment = {**os.environ, **places}
    subprocess.run([*manage, "migrate", "--verbosity", "0"], cwd=root, env=environment, check=True)
    issue = [*manage, "issue_key", "--user", "alice", "--name", "bench", "--json"]
    issue += ["--requests-per-minute", "1000000"]  # so that the limit does not refuse calls
    done = subprocess.run(issue, cwd=root, env=environment, check=True, stdout=subprocess.PIPE)
    key = json.loads(done.stdout)["key"]
    command = ("-m", "gunicorn", "--config", "python:portal.server", "portal.wsgi:application")
    log = folder / f"{name}.log"
    with process(*command, log=log, cwd=root, **places) as running:
        wait_for_port(port)
        send_one(port, create_experiment(key))
        run = json.loads(send_one(port, create_run(key)))["run"]["info"]["run_id"]
        requests = {"GET": read_experiment(key), "POST": log_metric(key, run)}
        yield Server(name, port, psutil.Process(running.pid), requests)


@contextmanager
def plain(folder: Path, database_url: str) -> Iterator[Server]:
    """The smallest proxy with keys and a log: revproxy's view, one SELECT and one INSERT for each call."""
    port, key = free_port(), "plain-key"
    places = {"DATABASE_URL": database_url, "PLAIN_KEY": key}
    plain_proxy.prepare(database_url, key)
    command = ("-m", "gunicorn", "--worker-class", "gthread", "--threads", "8", "--bind", f"127.0.0.1:{port}")
    log = folder / "plain.log"
    with process(*command, "benchmarks.plain_proxy:application()", log=log, **places) as running:
        wait_for_port(port)
        yield Server("plain", port, psutil.Process(running.pid), {"GET": read_experiment(key)})


@contextmanager
def nginx(folder: Path, upstream: int) -> Iterator[Server]:
    """nginx that compares one static key and forwards."""
    port, key = free_port(), "static-key"
    (folder / "nginx").mkdir()
    configuration = folder / "nginx.conf"
    configuration.write_text(f"""
    daemon off; worker_processes 1; pid {folder}/nginx/pid; error_log {folder}/nginx/error.log;
    events {{ worker_connections 256; }}
    http {{
      access_log {folder}/nginx/access.log; client_body_temp_path {folder}/nginx/body;
      proxy_temp_path {folder}/nginx/proxy; fastcgi_temp_path {folder}/nginx/f; uwsgi_temp_path {folder}/nginx/u;
      scgi_temp_path {folder}/nginx/s; keepalive_requests 1000000;
      upstream mlflow {{ server 127.0.0.1:{upstream}; keepalive 8; keepalive_requests 1000000; }}
      server {{ listen 127.0.0.1:{port};
        location / {{
          if ($http_authorization != "Bearer {key}") {{ return 401; }}
          proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://mlflow; }} }} }}
    """)
    running = subprocess.Popen(["nginx", "-c", str(configuration)], stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield Server("nginx", port, psutil.Process(running.pid), {"GET": read_experiment(key)})
    finally:
        running.terminate()
        running.wait(10)


if __name__ == "__main__":
    sys.exit(main())
