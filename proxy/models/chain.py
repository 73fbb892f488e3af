"""The ledger's hash chain: which columns of a row are sealed, and how rows are linked. Pure.

A completed row has a digest, which is SHA-256 over its content, and a hash, which is SHA-256 over the previous row's
hash, the row's number in the chain and its digest. The portal computes the digest. A trigger of PostgreSQL sets the
number and the hash under one lock, so that the chain has no forks however many processes write at once
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

# The sealed columns. Users and keys are sealed as public ids, which are in MLflow's tags too. SEALED_IF_SET: an
# organisation as its slug, "" for the one of users without any; the subject of a trust's token.
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
# Sealed only if they are not empty, so that rows from before the column keep their digests.
SEALED_IF_SET = ("organisation", "subject")
# The columns that the completion of a pending row sets; those of FILLED_IN only if they are empty.
COMPLETION = ("outcome", "status", "reason", "completed_at", "created_ms", "digest", "sequence", "hash")
FILLED_IN = ("object_name", "version", "run_id")


def compute_digest(row: Mapping[str, Any]) -> str:
    """SHA-256 over the sealed content of a row: JSON with sorted keys, ASCII, no blanks."""
    content = {name: canonicalise(name, row[name]) for name in SEALED}
    content |= {name: row[name] for name in SEALED_IF_SET if row[name]}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def canonicalise(name: str, value: Any) -> Any:
    """A value in a form that does not depend on the version of PostgreSQL or Python."""
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).isoformat(timespec="microseconds")
    if name == "address" and value:
        return ipaddress.ip_address(value).packed.hex()
    return value or "" if name in ("user", "key", "address") else value


def compute_hash(previous: str, sequence: int, digest: str) -> str:
    """A row's hash, as the trigger computes it."""
    return hashlib.sha256(f"{previous} {sequence} {digest}".encode()).hexdigest()
