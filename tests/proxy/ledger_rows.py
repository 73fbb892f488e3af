"""Rows for the ledger's tests, written as the portal writes them."""

import itertools
from typing import Any

from django.utils import timezone

from keys.models import ApiKey
from proxy.ledger import writer
from proxy.models import Registration

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
