"""Real clients create runs, experiments, models and versions while parts of the portal's surroundings restart:
`make creations`.

For each client of CLIENTS, 24 threads create without pause while (a) MLflow restarts twice, (b) two portals behind one
address restart one after the other, (c) PostgreSQL hangs for 10 s, or ends all connections and refuses new ones for
10 s. Afterwards, MLflow's own database must contain every creation exactly once, with its metric and its file, the
portal must have its owner and its row in the ledger, and no client may have raised an error. The exit status is 1
otherwise. FAULTS selects some.
"""

import dataclasses
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from portal.one_machine.ports import free_port
from tests.field.compat import selected
from tests.field.environments import Environment, mlflow, variables
from tests.field.servers import OPENER, Field, Server

CLIENTS = ("2.22.5", "3.17.2", "3.18.0")
SERVER = "3.17.2"
PROGRAM = Path(__file__).parent / "programs" / "creations.py"
LEAD_SECONDS, PAUSE_SECONDS, AWAY_SECONDS = 8.0, 6.0, 10.0
RECOVERY_SECONDS = 35.0  # longer than the longest Retry-After: each outage has all of a client's retries
END_SECONDS = 300.0  # the longest time for which clients retry
TABLES = {
    "run": ("runs", "name"),
    "experiment": ("experiments", "name"),
    "model": ("registered_models", "name"),
    "version": ("model_versions", "name"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Creation:
    kind: str
    name: str
    made: str
    error: str


@contextmanager
def one_address(urls: list[str]) -> Iterator[str]:
    """A load balancer: each new connection goes to the next portal that is ready."""
    ports = [int(url.rsplit(":", 1)[1]) for url in urls]
    turns = count()

    def is_ready(url: str) -> bool:
        with suppress(OSError), OPENER.open(f"{url}/health/ready", timeout=2) as response:
            return bool(response.status == 200)
        return False

    ready = dict.fromkeys(urls, True)
    ended = threading.Event()

    def check() -> None:
        while not ended.wait(0.3):
            ready.update({url: is_ready(url) for url in urls})

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def serve(caller: socket.socket) -> None:
        first = next(turns)
        chosen = [port for url, port in zip(urls, ports, strict=True) if ready[url]] or ports
        for number in range(len(chosen)):
            with suppress(OSError):
                portal = socket.create_connection(("127.0.0.1", chosen[(first + number) % len(chosen)]), 5)
                portal.settimeout(None)
                break
        else:
            caller.close()
            return
        with caller, portal:
            back = threading.Thread(target=pump, args=(portal, caller), daemon=True)
            back.start()
            pump(caller, portal)
            back.join()

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
        for target in (check, accept):
            threading.Thread(target=target, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)


def create_during(
    client: Environment, url: str, folder: Path, key: str, experiment: str, disturb: Callable[[], None]
) -> list[Creation]:
    """All creations of a client at this address, during which `disturb` runs."""
    output = folder / "creations.json"
    settings = {
        "MLFLOW_TRACKING_URI": f"{url}/api/mlflow",
        "MLFLOW_TRACKING_TOKEN": key,
        "EXPERIMENT_ID": experiment,
        "HOME": str(folder),
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [client.python, str(PROGRAM), str(output)],
            env=variables(client.folder) | settings,
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        until = time.monotonic() + 60
        while not (output.exists() and output.stat().st_size) and time.monotonic() < until:
            time.sleep(0.1)
        time.sleep(LEAD_SECONDS)
        disturb()
        time.sleep(PAUSE_SECONDS)
        output.with_suffix(".stop").touch()
        process.wait(END_SECONDS)
    finally:
        process.kill()
    return [
        Creation(kind=kind, name=name, made=made, error=error)
        for kind, name, made, error in map(json.loads, output.read_text().splitlines())
    ]


def problems(creations: list[Creation], server: Server, folder: Path, user: str) -> list[str]:
    """What a client, MLflow's database, its files, or the portal's tables lack or have twice."""
    found = [f"error: {each.kind} {each.name}: {each.error}" for each in creations if each.error]
    by_kind = {
        kind: [each for each in creations if each.kind == kind] for kind in (*TABLES, "metric", "artifact")
    }
    with sqlite3.connect(server.log.parent / "mlflow.db") as database:
        for kind, (table, column) in TABLES.items():
            rows = database.execute(f"select {column} from {table}").fetchall()
            stored = Counter(row[0] for row in rows if row[0][2:3] == "-" and row[0][:2].isdigit())
            wanted = {each.name for each in by_kind[kind]}
            made = {each.name for each in by_kind[kind] if each.made}
            found += [f"lost: {kind} {name}" for name in sorted(made - set(stored))]
            found += [
                f"doubled: {kind} {name}: {stored[name]}" for name in sorted(wanted) if stored[name] > 1
            ]
            found += [
                f"made in spite of the error: {kind} {name}" for name in sorted((wanted - made) & set(stored))
            ]
        with_metric = {row[0] for row in database.execute("select distinct run_uuid from metrics")}
    found += [
        f"lost: metric of {each.name}"
        for each in by_kind["metric"]
        if each.made and each.made not in with_metric
    ]
    files = {path.parent.parent.name for path in (server.log.parent / "artifacts").rglob("name.txt")}
    found += [
        f"lost: file of {each.name}" for each in by_kind["artifact"] if each.made and each.made not in files
    ]
    return found + problems_of_portal(by_kind, server, user)


def problems_of_portal(by_kind: dict[str, list[Creation]], server: Server, user: str) -> list[str]:
    with psycopg.connect(server.environment["DATABASE_URL"]) as connection:
        owners = {
            tuple(row)
            for row in connection.execute(
                "select kind, name from proxy_owner join keys_user on keys_user.id = user_id where username = %s",
                [user],
            )
        }
        ledger = Counter(
            (str(row[0]), str(row[1]))
            for row in connection.execute(
                "select operation, object_name from proxy_registration where outcome = 'done'"
            )
        )
        pending = connection.execute(
            "select count(*) from proxy_registration where outcome = 'pending'"
        ).fetchone()
    names = {"run": "run", "experiment": "experiment", "model": "registered_model"}
    found = [
        f"no owner: {kind} {each.name}"
        for kind, word in names.items()
        for each in by_kind[kind]
        if each.made and (word, each.made) not in owners
    ]
    rows = {"model": "registered-models.create", "version": "model-versions.create"}
    found += [
        f"{ledger[operation, each.name]} rows in the ledger: {kind} {each.name}"
        for kind, operation in rows.items()
        for each in by_kind[kind]
        if each.made and ledger[operation, each.name] != 1
    ]
    if pending and pending[0]:
        found.append(f"{pending[0]} pending rows in the ledger")
    return found


def pause_postgres(field: Field, number: signal.Signals) -> None:
    """SIGSTOP or SIGCONT to all processes of PostgreSQL."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            *_, session, _ = path.read_text().rpartition(")")[2].split()[1:5]
            if int(session) == field.postgres.child.process.pid:
                os.kill(int(path.parent.name), number)


def disturbances(field: Field, servers: list[Server]) -> dict[str, Callable[[], None]]:
    def restart_mlflow() -> None:
        field.restart(servers[0].mlflow_url)
        time.sleep(RECOVERY_SECONDS)
        field.restart(servers[0].mlflow_url)

    def restart_portals() -> None:
        for each in servers:
            field.restart(each.url)
            time.sleep(PAUSE_SECONDS)

    def freeze_postgres() -> None:
        pause_postgres(field, signal.SIGSTOP)
        time.sleep(AWAY_SECONDS)
        pause_postgres(field, signal.SIGCONT)

    def end_connections() -> None:
        name = urlsplit(servers[0].environment["DATABASE_URL"]).path.removeprefix("/")
        with psycopg.connect(field.postgres.url("postgres"), autocommit=True) as connection:
            connection.execute(f'alter database "{name}" allow_connections false'.encode())
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name]
            )
            time.sleep(AWAY_SECONDS)
            connection.execute(f'alter database "{name}" allow_connections true'.encode())

    return {
        "MLflow restarts": restart_mlflow,
        "portals restart": restart_portals,
        "PostgreSQL hangs": freeze_postgres,
        "PostgreSQL ends": end_connections,
    }


def run(release: str, word: str) -> int:
    """One client with one disturbance; returns the number of problems."""
    client, installed = mlflow(release), mlflow(os.environ.get("SERVER") or SERVER)
    with (
        tempfile.TemporaryDirectory() as name,
        Field(Path(name)) as field,
        field.server("one", installed) as first,
    ):
        port = free_port()
        second = dataclasses.replace(
            first,
            url=f"http://127.0.0.1:{port}",
            log=first.log.with_name("second.log"),
            environment=first.environment | {"PORT": str(port), "DATA_DIR": str(field.folder / "second")},
        )
        experiment = first.new_experiment("alice", "creations")
        key = first.issue("alice", "creations", "--preset", "full")
        folder = Path(tempfile.mkdtemp(dir=field.folder))
        with field.portal(second), one_address([first.url, second.url]) as url:
            started = time.monotonic()
            creations = create_during(
                client, url, folder, key, experiment, disturbances(field, [first, second])[word]
            )
            seconds = time.monotonic() - started
            first.wait_until_logged()
            found = problems(creations, first, folder, "alice")
        counts = Counter(each.kind for each in creations if each.made)
        words = ", ".join(f"{counts[kind]} {kind}s" for kind in (*TABLES, "metric", "artifact"))
        print(f"{release:8} {word:18} {words}; {len(found)} problems; {seconds:.0f} s", flush=True)
        for line in found[:30]:
            print(f"    {line}", flush=True)
        if keep := os.environ.get("KEEP_LOGS"):
            for path in (first.log, second.log, first.log.with_name("mlflow.log"), folder / "log"):
                Path(keep, f"{release}-{word.replace(' ', '_')}-{path.name}").write_bytes(path.read_bytes())
    return len(found)


def main() -> int:
    words = (
        os.environ.get("FAULTS", "").split(",")
        if os.environ.get("FAULTS")
        else ["MLflow restarts", "portals restart", "PostgreSQL hangs", "PostgreSQL ends"]
    )
    return int(sum(run(release, word) for release in selected("CLIENTS", CLIENTS) for word in words) > 0)


if __name__ == "__main__":
    sys.exit(main())
