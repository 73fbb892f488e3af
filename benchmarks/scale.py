"""The effect of the usage log's size: 10 million calls over 90 days compared with 100,000: `make scale`.

ROWS sets another number. Both logs are in one PostgreSQL, and each measurement alternates between them. It takes the
median of each of ROUNDS rounds and then the best round, because the machine may run other processes. The exit status is
1 if anything takes more than 1.5 times as long with the large log.
"""

import datetime
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SMALL, LARGE = 100_000, int(os.environ.get("ROWS", 10_000_000))
DAYS = 90
ALLOWED = 1.5
ROUNDS = 5
FILES = "removing its files after that"  # its time depends on the size, but nobody waits for it: no limit

# One key makes six of ten calls, 20 keys make the others. One of twenty calls fails. Even the small log has every
# combination on every day, so that both logs have the same number of totals.
CALLS = """
INSERT INTO {table} (request_id, at, key_id, user_id, operation, method, path, object_kind, object_name, status,
                     reason, bytes_in, bytes_out, duration_ms, upstream_ms, address, client, client_version)
SELECT 'req_' || md5('{day}' || n), '{day} 00:00+00'::timestamptz + n * interval '24 hours' / {count},
       CASE WHEN n % 10 < 6 THEN 1 ELSE 2 + (n / 40) % 20 END, 1 + n % 5,
       (ARRAY['runs.log-batch', 'runs.log-metric', 'runs.get', 'experiments.get', 'artifacts.upload',
              'registered-models.get', 'model-versions.create', 'runs.search'])[1 + n % 8],
       'POST', '/api/mlflow/api/2.0/mlflow/runs/log-batch', 'run', md5('run' || n % 5000),
       CASE WHEN n % 20 = 0 THEN 403 ELSE 200 END, CASE WHEN n % 20 = 0 THEN 'not_owner' ELSE '' END,
       n % 5000, n % 300, n % 400, n % 350, '10.0.0.1', 'mlflow-python-client/3.17.2', '3.17.2'
FROM generate_series(0, {count} - 1) AS n
"""
TOTALS = """
INSERT INTO proxy_calltotal (span, start, key_id, user_id, operation, status_class, calls, bytes_in, bytes_out,
                             duration_ms, latencies)
SELECT 'day', date_trunc('day', at), key_id, user_id, operation, status / 100, count(*), sum(bytes_in),
       sum(bytes_out), sum(duration_ms), ARRAY(SELECT 0::bigint FROM generate_series(1, 16))
FROM proxy_call GROUP BY 2, 3, 4, 5, 6
"""


def fill(count: int) -> None:
    """DAYS days of calls that end today."""
    from django.db import connection

    from keys import actions
    from keys.models import User
    from proxy.usage import partitions

    users = [User.objects.create(username=f"user-{number}") for number in range(1, 6)]
    for number in range(21):
        actions.issue(owner=users[number % 5], name=f"key {number}")
    with connection.cursor() as cursor:
        database = cursor.connection
        for day in sorted(partitions.days(database)):
            partitions.drop(database, day)
        partitions.remove_dropped(database)
        today = datetime.datetime.now(datetime.UTC).date()
        for ago in range(DAYS):
            day = today - datetime.timedelta(days=ago)
            table = partitions.name_of(day)
            after = day + datetime.timedelta(days=1)
            cursor.execute(f"CREATE TABLE {table} (LIKE proxy_call INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
            cursor.execute(CALLS.format(table=table, day=day, count=count // DAYS))
            cursor.execute(
                f"ALTER TABLE proxy_call ATTACH PARTITION {table} "
                f"FOR VALUES FROM ('{day} 00:00+00') TO ('{after} 00:00+00')"
            )
        cursor.execute(TOTALS)
        cursor.execute("VACUUM ANALYZE proxy_call")
        cursor.execute("VACUUM ANALYZE proxy_calltotal")
        cursor.execute("CHECKPOINT")


def measure() -> dict[str, float]:
    """Milliseconds of each measurement, the median of several rounds."""
    from proxy.models import Call, CallTotal

    log = Call.objects.with_caller
    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=DAYS)
    filters = {
        "all": log(),
        "one key": Call.objects.filter(key_id=1),
        "one user, failed": Call.objects.filter(user_id=1).failed(),
        "one operation": Call.objects.filter(operation="model-versions.create"),
        "one run": Call.objects.about("run", "f" * 32),
    }
    things: dict[str, Callable[[], Any]] = {
        f"first page, {name}": lambda calls=calls: calls.page() for name, calls in filters.items()
    }
    thousandth = Call.objects.filter(key_id=1).order_by("-at", "-id")[999 * 50 - 1].cursor
    things["page 1,000, one key"] = lambda: Call.objects.filter(key_id=1).page(after=thousandth)
    things["totals of one key"] = CallTotal.objects.by_day().filter(key_id=1).between(since, None).sums
    things["top keys"] = CallTotal.objects.by_day().between(since, None).top_keys
    return {name: timed(thing) for name, thing in things.items()} | drop_oldest()


def timed(thing: Callable[[], Any], times: int = 25) -> float:
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        thing()
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


def drop_oldest() -> dict[str, float]:
    """Time the detaching of a day, until another session no longer sees it, and the removal of its files."""
    import psycopg

    from proxy.usage import partitions

    address = os.environ["DATABASE_URL"]
    with psycopg.connect(address, autocommit=True) as own, psycopg.connect(address, autocommit=True) as other:
        day = min(partitions.days(own))
        started = time.perf_counter()
        partitions.step(own, day, partitions.drop)
        dropped = time.perf_counter()
        assert day not in partitions.days(other)
        removing = time.perf_counter()
        assert partitions.remove_dropped(own) == 1
        return {
            "drop of one day": (dropped - started) * 1000,
            FILES: (time.perf_counter() - removing) * 1000,
        }


def child(database_url: str, *arguments: str) -> Any:
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "PYTHONWARNINGS": "ignore",
        "MLFLOW_URL": "http://127.0.0.1:9",
        "SECRET_KEY": secrets.token_urlsafe(50),
        "KEY_PEPPERS": secrets.token_urlsafe(32),
    }
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    return json.loads(done.stdout) if done.stdout.strip() else None


def main() -> int:
    from psycopg import connect

    from portal.one_machine.postgres import create_database, running_postgres

    settings = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "4GB", "synchronous_commit": "off"}
    with tempfile.TemporaryDirectory() as folder, running_postgres(Path(folder), settings=settings) as server:
        os.environ["DATA_DIR"] = folder
        sizes = {"small": SMALL, "large": LARGE}
        for name, count in sizes.items():
            with connect(server.url("postgres"), autocommit=True) as connection:
                create_database(connection, name)
            child(server.url(name), "manage.py", "migrate", "--verbosity", "0")
            started = time.perf_counter()
            child(server.url(name), "-m", "benchmarks.scale", "fill", str(count))
            print(f"{count:,} calls made in {time.perf_counter() - started:.0f} s", flush=True)
        results: dict[str, dict[str, list[float]]] = {}
        for _ in range(ROUNDS):
            for name in sizes:
                for thing, taken in child(server.url(name), "-m", "benchmarks.scale", "measure").items():
                    results.setdefault(thing, {}).setdefault(name, []).append(taken)
    return report(results)


def report(results: dict[str, dict[str, list[float]]]) -> int:
    print(f"\n| best of {ROUNDS} | {SMALL:,} calls | {LARGE:,} calls | ratio |\n|---|---|---|---|")
    worst = 0.0
    for thing, taken in results.items():
        small, large = min(taken["small"]), min(taken["large"])
        worst = max(worst, large / small if thing != FILES else 0.0)
        print(f"| {thing} | {small:.1f} ms | {large:.1f} ms | {large / small:.2f} |")
    return int(worst > ALLOWED)


if __name__ == "__main__":
    if sys.argv[1:]:
        import django

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
        django.setup()
        if sys.argv[1] == "fill":
            fill(int(sys.argv[2]))
        else:
            print(json.dumps(measure()))
    else:
        sys.exit(main())
