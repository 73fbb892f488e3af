"""Rows for the ledger's tests, written as the portal writes them."""

import itertools
from typing import Any

from django.utils import timezone

from keys.models import ApiKey
from proxy.ledger import writer
from proxy.models import Manifest, Registration
from proxy.provenance import manifests

numbers = itertools.count(1)


def pending(key: ApiKey | None, operation: str, name: str = "", **columns: Any) -> Registration:
    """A row as it is before MLflow is called."""
    columns = {
        "request_id": f"req_{next(numbers)}",
        "at": timezone.now(),
        "environment": "live",
        "kind": writer.KINDS[operation.partition(".")[0]],
        "object_name": name,
        **({"key": key, "user": key.owner} if key else {"actor": "test"}),
        **columns,
    }
    return Registration.objects.create(operation=operation, **columns)


def row(
    key: ApiKey | None, operation: str, name: str = "", outcome: str = "done", **columns: Any
) -> Registration:
    """A completed row."""
    status = 200 if outcome == "done" else 400
    made = {"created_ms": next(numbers)} if operation.endswith(".create") and outcome == "done" else {}
    begun = pending(key, operation, name, **columns)
    assert writer.close(begun, outcome=outcome, status=status, **made)
    return Registration.objects.get(pk=begun.pk)


def manifest_of(key: ApiKey, name: str, version: str = "1", **columns: Any) -> Manifest:
    """A version of one file, and its manifest with its row of the ledger."""
    registration = row(key, "model-versions.create", name, version=version, **columns)
    manifest = Manifest(
        registration=registration,
        at=timezone.now(),
        environment="live",
        object_name=name,
        version=version,
        root="0/x",
        extent="listed",
        files=[{"path": "MLmodel", "size": 5, "sha256": "ab" * 32, "state": "seen"}],
    )
    manifest.digest = manifest.computed_digest
    manifest.row = manifests.open_row(registration, manifest)
    manifest.save()
    writer.close(manifest.row, outcome="done")
    return manifest
