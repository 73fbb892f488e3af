"""Scans the files of registered versions, after their manifests were made: formats, and the imports of pickles.

A file is scanned if its name or its first bytes are those of a format that can hold pickles. It is copied to a
temporary file, and `scan/worker.py` scans it in a process with fewer rights, with limits of time and memory. The queue
(`scan/queue.py`) takes up again what was killed in between: only a complete scan is stored.
"""

import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import IO, Any

from django.db import connection, transaction
from django.utils import timezone

from proxy.models import Manifest, VersionScan
from proxy.provenance import reading
from proxy.provenance.manifests import RECENT
from proxy.provenance.scan import containers, ratings
from proxy.provenance.scan.ratings import FileRating, Found
from proxy.upstream.registry import Registry, registry_of

logger = logging.getLogger(__name__)

WORKER = Path(__file__).with_name("scan") / "worker.py"
SECONDS = 90  # of one file, after which the worker is killed
MOST_BYTES = 512 * 2**20  # of one file; larger ones are not scanned
MOST_FILES = 200  # of one version that may hold a pickle
MOST_SECONDS = 600.0  # of one version
LOCK = 481_628_331  # the first half of an advisory lock's number; the other is the manifest's
MOST_VERSIONS = 100  # that are queued at once


class Stopped(Exception):
    """The process is to stop before the scan is complete."""


def unscanned() -> list[int]:
    """The ids of recent manifests of versions without a scan, the newest first."""
    rows = Manifest.objects.filter(scan=None, at__gte=timezone.now() - RECENT)
    return list(rows.order_by("-id").values_list("id", flat=True)[:MOST_VERSIONS])


def scan_version(manifest_id: int, must_stop: Callable[[], bool] = lambda: False) -> VersionScan | None:
    """The new scan of a version; None if another process makes it or has made it, or the registry is gone. Raises
    RegistryError, database errors, and Stopped after the file during which `must_stop` became true."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [LOCK, manifest_id % 2**31])
        if cursor.fetchone() != (True,) or VersionScan.objects.filter(manifest=manifest_id).exists():
            return None
        manifest = Manifest.objects.select_related("registration").get(pk=manifest_id)
        registry = registry_of(manifest.registration.namespace)
        return scan(manifest, registry, must_stop) if registry else None


def scan(
    manifest: Manifest, registry: Registry, must_stop: Callable[[], bool] = lambda: False
) -> VersionScan:
    """Scan and store. Raises as `scan_version`; then nothing is stored."""
    scanners: set[str] = set()
    files, scanned, until = [], 0, time.monotonic() + MOST_SECONDS
    for file in sorted(manifest.files, key=lambda file: not ratings.is_pickle(file["path"])):
        if must_stop():
            raise Stopped
        path, stored = file["path"], f"{manifest.root}/{file['path']}"
        if time.monotonic() > until:
            files.append(ratings.not_scanned(path, "the time for this version was over"))
        elif not needs_scan(path, stored, registry):
            files.append(ratings.rate_by_name(path))
        elif scanned >= MOST_FILES or (file["size"] or 0) > MOST_BYTES:
            files.append(ratings.not_scanned(path, "it is too large, or there are too many files"))
        else:
            scanned += 1
            files.append(scan_file(path, stored, registry, scanners.add))
    return VersionScan.objects.create(
        manifest=manifest,
        rating=ratings.worst(files),
        scanner=", ".join(sorted(scanners)),
        files=[asdict(file) for file in sorted(files, key=lambda file: file.path)],
    )


def needs_scan(path: str, stored: str, registry: Registry) -> bool:
    """Whether the file may hold a pickle, by its name or by its first bytes. Raises RegistryError."""
    if ratings.is_pickle(path):
        return True
    head = reading.read_head(registry, stored, containers.HEAD)
    return head is None or containers.needs_examination(head)


def scan_file(path: str, stored: str, registry: Registry, add_scanner: Callable[[str], None]) -> FileRating:
    with tempfile.TemporaryFile() as content:
        read = reading.read_file(registry, stored, copy_to=content, most=MOST_BYTES)
        if read is None:
            return ratings.not_scanned(path, "it is missing, or too large")
        content.seek(0)
        result = run_worker(content, PurePosixPath(path).suffix.lower())
    if "imports" not in result:
        return ratings.not_scanned(path, str(result.get("error", "the scanner failed")))
    add_scanner(str(result["scanner"]))
    imports = [
        (str(module), str(name), bool(is_dangerous)) for module, name, is_dangerous in result["imports"]
    ]
    kinds = frozenset(str(kind) for kind in result["kinds"])
    found = Found(imports=imports, is_whole=bool(result["is_whole"]), kinds=kinds)
    return ratings.rate_scanned(path, found)


def run_worker(content: IO[bytes], suffix: str) -> dict[str, Any]:
    """What the worker found, or {"error": …}. Never raises for what the worker does."""
    command = [sys.executable, "-I", str(WORKER), suffix]
    try:
        done = subprocess.run(  # noqa: S603  our own program
            command,
            stdin=content,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            timeout=SECONDS,
            check=False,
            start_new_session=True,
        )
        result = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {"error": "the scanner took too long"}
    except (OSError, ValueError):
        return {"error": "there is no scanner, or it failed"}
    return result if isinstance(result, dict) else {"error": "the scanner failed"}
