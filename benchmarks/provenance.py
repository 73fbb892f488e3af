"""The effect of the number of files: a manifest and a version's state with 10 million events compared with 100,000:
`python -m benchmarks.provenance`.

ROWS sets another number. A version has 500 files, and every twentieth file was overwritten once. The exit status is 1
if a version's manifest, or the digests of its files, take more than 50 ms with the large table.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.scale import child

if TYPE_CHECKING:
    from django.db.backends.utils import CursorWrapper

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
# A version for each folder, ten of each model, with its manifest; both are rows of the ledger. Only the last manifest,
# which is read, has its files in it.
LEDGER = """
INSERT INTO proxy_registration (request_id, at, actor, environment, operation, kind, is_prompt, object_name, new_name,
    version, run_id, source, tags, detail, outcome, reason, completed_at, digest, sequence, hash)
SELECT 'req_{operation}_' || n, '2026-01-01 00:00+00'::timestamptz + n * interval '500 seconds', 'benchmark', 'live',
    'model-versions.{operation}', 'model_version', false, 'model-' || n / 10, '', (n % 10 + 1)::text, '', '', '{{}}',
    '{{}}', 'done', '', '2026-01-01 00:10+00'::timestamptz + n * interval '500 seconds', md5(n::text) || md5(n::text),
    {first} + n, md5('{operation}' || n) || md5(n::text)
FROM generate_series(0, {versions} - 1) AS n
"""
MANIFESTS = """
INSERT INTO proxy_manifest (registration_id, row_id, at, environment, object_name, version, root, extent, files, about,
    digest, signature)
SELECT made.id, listed.id, made.at, 'live', made.object_name, made.version,
    n % 40 || '/models/m-' || md5(n::text) || '/artifacts', 'listed', '[]', '{{}}', made.digest, ''
FROM generate_series(0, {versions} - 1) AS n
JOIN proxy_registration made ON made.request_id = 'req_create_' || n
JOIN proxy_registration listed ON listed.request_id = 'req_manifest_' || n
"""


def fill(count: int) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        for first in range(0, count, STEP):
            cursor.execute(EVENTS.format(first=first, last=min(first + STEP, count)))
        cursor.execute(OVERWRITTEN)
        cursor.execute(
            "SET session_replication_role = replica"
        )  # the chain's triggers take a lock for each row
        versions = count // FILES
        for first, operation in ((1, "create"), (versions + 1, "manifest")):
            cursor.execute(LEDGER.format(operation=operation, first=first, versions=versions))
        cursor.execute(MANIFESTS.format(versions=versions))
        fill_last_manifest(cursor)
        cursor.execute("VACUUM ANALYZE proxy_artifactevent, proxy_registration, proxy_manifest")


def fill_last_manifest(cursor: "CursorWrapper") -> None:
    from django.utils import timezone

    from proxy.models import Manifest
    from proxy.provenance import manifests

    last = Manifest.objects.order_by("-id")[0]
    known, _ = manifests.read_events("live", last.root, timezone.now())
    files = manifests.merge(known, None, frozenset())
    cursor.execute("UPDATE proxy_manifest SET files = %s WHERE id = %s", [json.dumps(files), last.pk])


def measure() -> dict[str, float]:
    """Milliseconds of each, as the portal does them."""
    from django.utils import timezone

    from keys.models import Namespace
    from proxy.models import ArtifactEvent, Manifest
    from proxy.provenance import comparison, downloads, manifests

    newest = ArtifactEvent.objects.order_by("-id").first()
    assert newest is not None
    root = newest.path.rpartition("/")[0]
    known, _ = manifests.read_events("live", root, timezone.now())
    assert len(known) == FILES
    last, shared = Manifest.objects.order_by("-id")[0], Namespace.shared("live")

    def report() -> list[comparison.FileState]:
        found = Manifest.objects.of_version(shared, last.object_name, last.version)
        assert found == last
        return comparison.compare(found)

    assert len(report()) == FILES
    return {
        "a version's manifest of 500 files, with their states": median(report),
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
