"""The ledger's hash chain: what of a row is sealed, and how rows are linked. Pure.

A completed row has a digest, SHA-256 over its content, and a hash, SHA-256 over the hash before it, its place
in the chain and its digest. The digest is made here; its place and its hash PostgreSQL gives a row itself, in
a trigger and under one lock, so that the chain has no forks however many processes write at once
(proxy/migrations/0003_ledger.py).
"""

import datetime
import hashlib
import ipaddress
import json
from collections.abc import Mapping
from typing import Any

GENESIS = "0" * 64
TRIGGERS = frozenset({"registration_seal", "registration_keep", "registration_keep_all"})

# What is sealed. Users and keys by their public ids, which MLflow's tags carry too.
SEALED = (
    "request_id",
    "at",
    "user",
    "key",
    "actor",
    "environment",
    "operation",
    "kind",
    "is_prompt",
    "object_name",
    "new_name",
    "version",
    "run_id",
    "source",
    "tags",
    "detail",
    "address",
    "outcome",
    "status",
    "reason",
    "completed_at",
    "created_ms",
)
# The columns that a pending row's completion may change; the last three only from empty to something.
COMPLETION = ("outcome", "status", "reason", "completed_at", "created_ms", "digest", "sequence", "hash")
FILLED_IN = ("object_name", "version", "run_id")


def digest(row: Mapping[str, Any]) -> str:
    """SHA-256 over the sealed content of a row: JSON with sorted keys, ASCII, no blanks."""
    content = {name: canonical(name, row[name]) for name in SEALED}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def canonical(name: str, value: Any) -> Any:
    """A value in a form that neither PostgreSQL nor a version of Python writes in two ways."""
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).isoformat(timespec="microseconds")
    if name == "address" and value:
        return ipaddress.ip_address(value).packed.hex()
    return value or "" if name in ("user", "key", "address") else value


def link(previous: str, sequence: int, digest: str) -> str:
    """A row's hash, as the trigger makes it."""
    return hashlib.sha256(f"{previous} {sequence} {digest}".encode()).hexdigest()
