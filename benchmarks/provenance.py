"""The effect of the number of files: a manifest and a version's state with 10 million events compared with 100,000:
`python -m benchmarks.provenance`.

ROWS sets another number. A version has 500 files, and every twentieth file was overwritten once. The exit status is 1
if reading the digests of a version's files takes more than 50 ms with the large table.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.scale import child

SMALL, LARGE = 100_000, int(os.environ.get("ROWS", 10_000_000))
FILES = 500  # of one version
ALLOWED_MS = 50.0
ROUNDS, REPEATS = 3, 21
# Ids are spread as MLflow's are; events come in the order of their time.
EVENTS = """
INSERT INTO proxy_artifactevent (environment, path, kind, at, size, sha256, request_id)
SELECT 'live', (n / 500) % 40 || '/models/m-' || md5((n / 500)::text) || '/artifacts/part-' || n % 500,
       'uploaded', '2026-01-01 00:00+00'::timestamptz + n * interval '1 second', n % 1000000,
       md5(n::text) || md5(n::text), 'req_' || md5(n::text)
FROM generate_series({first}, {last} - 1) AS n
"""
OVERWRITTEN = """
INSERT INTO proxy_artifactevent (environment, path, kind, at, size, sha256, request_id)
SELECT environment, path, kind, at + interval '1 minute', size, sha256, request_id FROM proxy_artifactevent
WHERE id % 20 = 0
"""
STEP = 1_000_000


def fill(count: int) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        for first in range(0, count, STEP):
            cursor.execute(EVENTS.format(first=first, last=min(first + STEP, count)))
        cursor.execute(OVERWRITTEN)
        cursor.execute("VACUUM ANALYZE proxy_artifactevent")


def measure() -> dict[str, float]:
    """Milliseconds of each, as the portal does them."""
    from django.utils import timezone

    from proxy.models import ArtifactEvent
    from proxy.provenance import downloads, manifests

    newest = ArtifactEvent.objects.order_by("-id").first()
    assert newest is not None
    root = newest.path.rpartition("/")[0]
    known, _ = manifests.read_events("live", root, timezone.now())
    assert len(known) == FILES
    return {
        "digests of a version's 500 files": median(
            lambda: manifests.read_events("live", root, timezone.now())
        ),
        "digest of one file, for its download": median(lambda: downloads.read_expected("live", newest.path)),
    }


def median(do: Callable[[], object]) -> float:
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        do()
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


def main() -> int:
    from psycopg import connect

    from portal.one_machine.postgres import create_database, running_postgres

    settings = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "4GB", "synchronous_commit": "off"}
    results: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder, running_postgres(Path(folder), settings=settings) as server:
        os.environ["DATA_DIR"] = folder
        sizes = {"small": SMALL, "large": LARGE}
        for name, count in sizes.items():
            with connect(server.url("postgres"), autocommit=True) as connection:
                create_database(connection, name)
            child(server.url(name), "manage.py", "migrate", "--verbosity", "0")
            child(server.url(name), "-m", "benchmarks.provenance", "fill", str(count))
        for _ in range(ROUNDS):
            for name in sizes:
                for thing, taken in child(server.url(name), "-m", "benchmarks.provenance", "measure").items():
                    results.setdefault(thing, {}).setdefault(name, []).append(taken)
    print(f"| best of {ROUNDS} | {SMALL:,} files | {LARGE:,} files |\n|---|---|---|")
    worst = 0.0
    for thing, of_size in results.items():
        small, large = min(of_size["small"]), min(of_size["large"])
        worst = max(worst, large)
        print(f"| {thing} | {small:.1f} ms | {large:.1f} ms |")
    return int(worst > ALLOWED_MS)


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
