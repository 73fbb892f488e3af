"""Calls to a real MLflow, direct, through the portal and with its basic auth: `python -m benchmarks.throughput`, two
minutes.

All three get the same GET in turns: calls per second over four connections, and the median of a call over one. The
portal forwards to the MLflow that the direct calls use, everything switched on. MLflow's basic auth is a server of its
own on the same PostgreSQL; it needs Flask-WTF, which pip installs into a temporary folder. A ratio is the median of the
rounds' ratios. ROUNDS=… and CALLS=… set the length.
"""

import base64
import os
import secrets
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from benchmarks.callers import Requests, Took, request, run_calls
from benchmarks.fairness import issue, quiet_portal
from benchmarks.real_mlflow import mlflow_and_database
from benchmarks.results import Row, median_ratio, report_rows
from benchmarks.usage_log import process, wait_for_port

ROUNDS, CALLS = int(os.environ.get("ROUNDS", 7)), int(os.environ.get("CALLS", 600))
CONNECTIONS = 4
SHARE, ADDED, FASTER = 0.92, 0.10, 35.0  # targets: of direct calls, added to the median, times basic auth
NEEDED = ("flask-wtf", "wtforms")  # by MLflow's basic auth
READ = "/api/2.0/mlflow/experiments/get?experiment_id=0"  # the one that every MLflow has
Servers = dict[str, tuple[int, Requests]]


def main() -> int:
    settings = {"DEFAULT_REQUESTS_PER_MINUTE": "1000000", "ISOLATION": "off"}
    with mlflow_and_database(**settings) as folder, ExitStack() as stack:
        key = issue("alice", "--any-owner")
        direct = int(os.environ["MLFLOW_URL"].rpartition(":")[2])
        servers: Servers = {
            "direct": (direct, request("GET", READ, "")),
            "portal": (
                stack.enter_context(quiet_portal(folder)),
                request("GET", f"/api/mlflow{READ}", key),
            ),
            "basic auth": stack.enter_context(basic_auth(folder)),
        }
        return report(measure(servers, CONNECTIONS), measure(servers, 1))


def measure(servers: Servers, connections: int) -> dict[str, list[Took]]:
    """What each round took; the first one warms up."""
    found: dict[str, list[Took]] = {name: [] for name in servers}
    for number in range(ROUNDS + 1):
        for name in sorted(servers, reverse=number % 2 == 1):
            port, requests = servers[name]
            calls = CALLS // (20 if name == "basic auth" else 1)  # it is that slow
            took = run_calls(port, requests, calls=calls, connections=connections)
            if number:
                found[name].append(took._replace(seconds=took.seconds / calls))
    return found


def report(many: dict[str, list[Took]], one: dict[str, list[Took]]) -> int:
    for name in many:
        rate = 1 / statistics.median(took.seconds for took in many[name])
        middle = statistics.median(took.median for took in one[name]) * 1000
        print(f"  {name:10} {rate:6.0f} calls/s over {CONNECTIONS} connections, {middle:6.2f} ms over one")
    share = median_ratio([took.seconds for took in many["direct"]], [took.seconds for took in many["portal"]])
    faster = median_ratio(
        [took.seconds for took in many["basic auth"]], [took.seconds for took in many["portal"]]
    )
    added = median_ratio([took.median for took in one["portal"]], [took.median for took in one["direct"]]) - 1
    rows = (
        Row(what="calls per second to real MLflow, GET / direct", result=share, least=SHARE),
        Row(what="added median, one connection, GET / direct", result=added, most=ADDED),
        Row(what="calls per second / MLflow's basic auth", result=faster, least=FASTER),
    )
    return report_rows(*rows)


@contextmanager
def basic_auth(folder: Path) -> Iterator[tuple[int, Requests]]:
    """MLflow with its own users, on a database of the same PostgreSQL."""
    from portal.one_machine.mlflow import mlflow_backend
    from portal.one_machine.ports import free_port

    packages, port, password = folder / "packages", free_port(), secrets.token_urlsafe(16)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(packages), *NEEDED]
    subprocess.run(pip, check=True)
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("CREATE DATABASE basic_auth")
        connection.execute("CREATE DATABASE basic_auth_users")
    address = os.environ["DATABASE_URL"].replace("/portal?", "/{}?")
    configuration = folder / "basic_auth.ini"
    users = mlflow_backend(address.format("basic_auth_users"))
    configuration.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {users.replace('%', '%%')}\n"
        f"admin_username = admin\nadmin_password = {password}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    settings = {
        "PYTHONPATH": str(packages),
        "MLFLOW_AUTH_CONFIG_PATH": str(configuration),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_urlsafe(16),
        "MLFLOW_BACKEND_STORE_URI": mlflow_backend(address.format("basic_auth")),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = ("-m", "mlflow", "server", "--app-name", "basic-auth", "--port", str(port), "--workers", "1")
    artifacts = ("--artifacts-destination", str(folder / "basic_auth_artifacts"))
    name = base64.b64encode(f"admin:{password}".encode()).decode()
    with process(*command, *artifacts, log=folder / "basic_auth.log", cwd=folder, **settings):
        wait_for_port(port, seconds=120)
        yield port, request("GET", READ, name, scheme="Basic")


if __name__ == "__main__":
    sys.exit(main())
