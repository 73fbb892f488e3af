"""CPU time of a call and memory of a worker as a portal grows: `python -m benchmarks.growth`, half an hour.

One portal has little of everything. Each other one has much of one thing: keys, objects with an owner, rows of the
usage log, or organisations. All run at once and get the same calls in turns, by 200 keys: a GET, and a POST on a run
that the key owns. The first portal gets them with 1,000 other connections that are idle, and over 200 connections, too.
A ratio is the median of the rounds' ratios. LARGEST=… bounds the sizes, to try the command; ROUNDS=… and CALLS=… set
the length; ONLY=organisations,connections selects what grows.
"""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg

from benchmarks.callers import (
    API,
    Requests,
    create_experiment,
    create_run,
    log_metric,
    request,
    run_calls,
    send_one,
)
from benchmarks.calls import UPSTREAM
from benchmarks.results import Row, median_ratio, save
from benchmarks.usage_log import ROOT, cpu, process, wait_for_port

LARGEST = int(os.environ.get("LARGEST", 10**7))
ROUNDS, CALLS = int(os.environ.get("ROUNDS", 5)), int(os.environ.get("CALLS", 1000))
MOST, KEYS, CONNECTIONS = 1.1, 200, 4
IDLE, BUSY = min(1000, LARGEST), 200
SMALL_LOG = min(10**5, LARGEST // 10)
# What grows: how many of it the small portal has, and the other one.
SIZES = {
    "keys": (KEYS, min(10**6, LARGEST)),
    "objects": (10**3, LARGEST),
    "rows of the log": (SMALL_LOG, LARGEST),
    "organisations": (1, KEYS),
}
CONNECTIONS_ROWS = (("idle", f"{IDLE:,} / 0 idle connections"), ("busy", f"{BUSY} / 4 busy connections"))
ONLY = os.environ.get("ONLY", ",".join((*SIZES, "connections"))).split(",")
GROWING = [name for name in SIZES if name in ONLY]
KEY_ROWS = """
INSERT INTO keys_apikey ({columns})
SELECT {values} FROM keys_apikey CROSS JOIN generate_series(1, %s) AS number
WHERE id = (SELECT min(id) FROM keys_apikey)
"""
OBJECTS = """
INSERT INTO proxy_owner (environment, kind, name, user_id, key_id, created_at, is_shared, is_reserved, organisation_id)
SELECT 'live', 'run', md5('run' || n), user_id, key_id, now(), false, false, organisation_id
FROM generate_series(1, %s) AS n CROSS JOIN (SELECT * FROM proxy_owner LIMIT 1) AS first
"""


@dataclass
class Portal:
    port: int
    parent: psutil.Process
    requests: dict[str, Requests]
    costs: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, kind: str, *, connections: int = CONNECTIONS, name: str = "") -> None:
        before = cpu(self.parent)
        run_calls(self.port, self.requests[kind], calls=CALLS, connections=connections)
        self.costs.setdefault(name or kind, []).append((cpu(self.parent) - before) / CALLS * 1000)

    @property
    def memory(self) -> float:
        """MiB of the worker."""
        return float(self.parent.children()[0].memory_full_info().uss) / 2**20


def main() -> int:
    from portal.one_machine.ports import free_port
    from portal.one_machine.postgres import running_postgres

    settings = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "4GB", "synchronous_commit": "off"}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = stack.enter_context(running_postgres(folder / "postgresql", settings=settings))
        upstream = free_port()
        os.environ |= {
            "MLFLOW_URL": f"http://127.0.0.1:{upstream}",
            "ISOLATION": "off",
            "SECRET_KEY": secrets.token_urlsafe(50),
            "KEY_PEPPERS": secrets.token_urlsafe(32),
            "WORKERS": "1",
            "PYTHONWARNINGS": "ignore",
        }
        stack.enter_context(process("-c", UPSTREAM, str(upstream)))
        portals = {}
        for number, name in enumerate(("", *GROWING)):
            with psycopg.connect(database.url("postgres"), autocommit=True) as connection:
                connection.execute(f'CREATE DATABASE "growth{number}"')
            place = {"DATABASE_URL": database.url(f"growth{number}"), "DATA_DIR": str(folder / str(number))}
            portals[name] = stack.enter_context(portal(folder, place, name))
            print(f"  {name or 'the small one'}: ready", flush=True)
        if GROWING:
            measure(portals)
        memory = {name: each.memory for name, each in portals.items()}  # before a thousand connections
        if "connections" in ONLY:
            measure_connections(portals[""])
        return report(portals, memory)


@contextmanager
def portal(folder: Path, place: dict[str, str], grown: str) -> Iterator[Portal]:
    """A portal with much of `grown`, and with one run of each key."""
    from portal.one_machine.ports import free_port

    environment, port = {**os.environ, **place}, free_port()
    manage = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(manage, cwd=ROOT, env=environment, check=True)
    fill = [sys.executable, "-m", "benchmarks.growth", "fill"]
    done = subprocess.run([*fill, grown], cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE)
    keys: list[str] = json.loads(done.stdout.splitlines()[-1])
    command = ("-m", "gunicorn", "--config", "python:portal.server", "portal.wsgi:application")
    with process(*command, log=folder / f"{port}.log", PORT=str(port), **place) as running:
        wait_for_port(port)
        runs = [own_run(port, key) for key in keys]
        read = [
            request("GET", f"{API}/runs/get?run_id={run}", key) for key, run in zip(keys, runs, strict=True)
        ]
        write = [log_metric(key, run) for key, run in zip(keys, runs, strict=True)]
        if grown == "objects":
            with psycopg.connect(place["DATABASE_URL"], autocommit=True) as connection:
                connection.execute(OBJECTS, [SIZES[grown][1]])
                connection.execute("VACUUM ANALYZE proxy_owner")
        yield Portal(port, psutil.Process(running.pid), {"GET": joined(read), "POST": joined(write)})


def own_run(port: int, key: str) -> str:
    """The id of a new run, in an experiment of the key's user."""
    for _ in range(40):
        content = json.loads(send_one(port, create_run(key)))
        if "run" in content:
            return str(content["run"]["info"]["run_id"])
        send_one(port, create_experiment(key))
        time.sleep(0.1)
    raise SystemExit(f"no run: {content}")


def joined(requests: list[Requests]) -> Requests:
    return Requests(b"\0".join(each.content for each in requests))


def measure(portals: dict[str, Portal]) -> None:
    for number in range(ROUNDS + 1):
        for kind in ("GET", "POST"):
            for name in sorted(portals, reverse=number % 2 == 1):
                portals[name].measure(kind)
        if number == 0:
            for each in portals.values():
                each.costs = {}


def measure_connections(small: Portal) -> None:
    for _ in range(ROUNDS):
        small.measure("GET", name="few")
        with contextlib.ExitStack() as stack:
            for _ in range(IDLE):
                stack.enter_context(socket.create_connection(("127.0.0.1", small.port)))
            small.measure("GET", name="idle")
        small.measure("GET", connections=BUSY, name="busy")


def report(portals: dict[str, Portal], memory: dict[str, float]) -> int:
    small = portals[""]
    rows = []
    for name in GROWING:
        few, many = SIZES[name]
        for kind in ("GET", "POST"):
            ratio = median_ratio(portals[name].costs[kind], small.costs[kind])
            rows.append(Row(what=f"CPU per {kind}, {many:,} / {few:,} {name}", result=ratio, most=MOST))
        ratio = memory[name] / memory[""]
        rows.append(Row(what=f"memory of a worker, {many:,} / {few:,} {name}", result=ratio, most=MOST))
    for name, words in CONNECTIONS_ROWS if "connections" in ONLY else ():
        ratio = median_ratio(small.costs[name], small.costs["few"])
        rows.append(Row(what=f"CPU per GET, {words}", result=ratio, most=MOST))
    print(f"\n| what (`LARGEST={LARGEST}`) | ratio | target |\n|---|---|---|")
    for row in rows:
        print(f"| {row.what} | {row.result:.2f} | at most {row.most}{'' if row.is_met else ': missed'} |")
    save(*rows)
    return int(not all(row.is_met for row in rows))


def fill(grown: str) -> list[str]:
    """Fill the database; the secrets of the keys that call."""
    from django.db import connection

    from benchmarks import scale
    from keys import actions
    from keys.actions.organisations import add_member, create_organisation
    from keys.models import ApiKey, User

    count = {name: sizes[name == grown] for name, sizes in SIZES.items()}
    alice, found = User.objects.create_user("alice"), []
    for number in range(KEYS):
        owner, organisation = alice, None
        if number < count["organisations"] - 1:
            owner = User.objects.create_user(f"member-{number}")
            organisation = create_organisation(slug=f"organisation-{number}")
            add_member(organisation=organisation, user=owner, role="owner")
        options = {"organisation": organisation, "requests_per_minute": 1_000_000}
        found.append(actions.issue(owner=owner, name=f"call {number}", **options)[1])
    scale.fill(count["rows of the log"])
    own = {
        "public_id": "'key_' || left(md5('p' || number), 16)",
        "digest": "md5('a' || number) || md5('b' || number)",
    }
    own["name"] = "'copy ' || number"
    columns = [each.column for each in ApiKey._meta.concrete_fields if not each.primary_key]
    values = [own.get(column, column) for column in columns]
    with connection.cursor() as cursor:
        statement = KEY_ROWS.format(columns=", ".join(columns), values=", ".join(values))
        cursor.execute(statement, [count["keys"]])
        cursor.execute("VACUUM ANALYZE keys_apikey")
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["fill"]:
        import django

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
        django.setup()
        print(json.dumps(fill(sys.argv[2])))
    else:
        sys.exit(main())
