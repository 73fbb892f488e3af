"""The ledger's hash chain: what of a row is sealed, and how rows are linked. Pure, but for the triggers' text.

A completed row has a digest, SHA-256 over its content, and a hash, SHA-256 over the hash before it, its place
in the chain and its digest. The digest is made here; its place and its hash PostgreSQL gives a row itself, in
a trigger and under one lock, so that the chain has no forks however many processes write at once.
"""

import datetime
import hashlib
import ipaddress
import json
from collections.abc import Mapping
from typing import Any

import pgtrigger

GENESIS = "0" * 64
LOCK = 0x686F6B75  # pg_advisory_xact_lock's number: "hoku"

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

FROZEN = ", ".join(f"'{column}'" for column in COMPLETION + FILLED_IN)
CHANGES_FILLED = " OR ".join(f"(OLD.{column} <> '' AND OLD.{column} <> NEW.{column})" for column in FILLED_IN)

# A volatile function's query sees what was committed while it waited for the lock, and the rows that its
# own statement has written before (PostgreSQL 18, 36.7 and 37.2).
SEAL = f"""
    IF TG_OP = 'UPDATE' AND (
        OLD.outcome <> 'pending' OR NEW.outcome = 'pending' OR {CHANGES_FILLED}
        OR to_jsonb(OLD) - ARRAY[{FROZEN}] IS DISTINCT FROM to_jsonb(NEW) - ARRAY[{FROZEN}]
    ) THEN
        RAISE EXCEPTION 'the ledger is append-only: the one allowed change is the completion of a pending row'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'registration_append_only';
    END IF;
    IF NEW.outcome = 'pending' THEN
        RETURN NEW;
    END IF;
    PERFORM pg_advisory_xact_lock({LOCK});
    SELECT sequence, hash INTO previous FROM proxy_registration
        WHERE sequence IS NOT NULL ORDER BY sequence DESC LIMIT 1;
    NEW.sequence := COALESCE(previous.sequence, 0) + 1;
    NEW.hash := encode(sha256(convert_to(
        COALESCE(previous.hash, '{GENESIS}') || ' ' || NEW.sequence || ' ' || NEW.digest, 'UTF8')), 'hex');
    RETURN NEW;
"""
KEEP = """
    RAISE EXCEPTION 'the ledger is append-only: nothing is deleted from it'
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'registration_append_only';
"""
# To empty what is empty loses nothing, and is how Django's tests clean up.
KEEP_ALL = f"""
    IF EXISTS (SELECT FROM proxy_registration) THEN {KEEP} END IF;
    RETURN NULL;
"""

TRIGGERS = [
    pgtrigger.Trigger(
        name="seal",
        when=pgtrigger.Before,
        operation=pgtrigger.Insert | pgtrigger.Update,
        declare=[("previous", "RECORD")],
        func=SEAL,
    ),
    pgtrigger.Trigger(name="keep", when=pgtrigger.Before, operation=pgtrigger.Delete, func=KEEP),
    pgtrigger.Trigger(
        name="keep_all",
        when=pgtrigger.Before,
        operation=pgtrigger.Truncate,
        level=pgtrigger.Statement,
        func=KEEP_ALL,
    ),
]


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
