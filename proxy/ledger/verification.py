"""Is the ledger as it was written? Walks the whole chain, and holds it against heads exported before.

Who has the database can change rows and hash everything anew, or cut off the chain's end. A head that was
exported to somewhere else before is then no longer in the chain.
"""

import datetime
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.models import F

from proxy.models import Registration, chain

CHUNK = 2000  # rows
COLUMNS = [name for name in chain.SEALED if name not in ("user", "key")] + ["sequence", "digest", "hash"]


@dataclass(frozen=True, kw_only=True)
class Head:
    """The end of the chain at some time: it stands for everything before it."""

    sequence: int
    hash: str
    at: str

    def as_json(self) -> str:
        return json.dumps({"sequence": self.sequence, "hash": self.hash, "at": self.at})

    @classmethod
    def parse(cls, line: str) -> "Head":
        """Raises ValueError for anything but `as_json`'s form."""
        content = json.loads(line)
        if not isinstance(content, dict) or not isinstance(content.get("sequence"), int):
            raise ValueError("not a head of the ledger")
        return cls(
            sequence=content["sequence"], hash=str(content.get("hash")), at=str(content.get("at", "?"))
        )


@dataclass(kw_only=True)
class Verdict:
    """What the walk found: how many rows are good, the end, and the first thing that is wrong ("": nothing)."""

    rows: int = 0
    head: Head | None = None
    problem: str = ""


def verify(heads: list[Head] | None = None) -> Verdict:
    """Walk the chain from its beginning to its end or its first break. Memory stays the same however long."""
    verdict = Verdict(problem=triggers_problem())
    if verdict.problem:
        return verdict
    wanted: dict[int, list[Head]] = {}
    for head in heads or []:
        wanted.setdefault(head.sequence, []).append(head)
    previous, row = chain.GENESIS, None
    with transaction.atomic():  # outside of one, PostgreSQL would write the cursor's whole result down first
        for row in rows():
            verdict.problem = break_at(row, verdict.rows + 1, previous) or rewritten(
                row, wanted.pop(row["sequence"], [])
            )
            if verdict.problem:
                return verdict
            verdict.rows, previous = row["sequence"], row["hash"]
    if row is not None:
        verdict.head = Head(sequence=row["sequence"], hash=previous, at=now())
    if wanted:
        head = wanted[max(wanted)][0]
        verdict.problem = (
            f"the chain's end is missing: it reached row {head.sequence} when its head was exported ({head.at}), "
            f"and ends with row {verdict.rows} now"
        )
    return verdict


def head() -> Head | None:
    """The chain's end as it stands, unchecked; None of an empty ledger."""
    row = Registration.objects.in_chain().last()
    return Head(sequence=row.sequence, hash=row.hash, at=now()) if row and row.sequence else None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The chain's end as it is now, without walking it, how many rows are not in it yet, and what keeps
    PostgreSQL from guarding it ("": nothing)."""

    sequence: int
    hash: str
    completed_at: datetime.datetime | None
    pending: int
    problem: str


def standing() -> Standing:
    last = Registration.objects.in_chain().last()
    return Standing(
        sequence=last.sequence or 0 if last else 0,
        hash=last.hash if last else chain.GENESIS,
        completed_at=last.completed_at if last else None,
        pending=Registration.objects.pending().count(),
        problem=triggers_problem(),
    )


def rows() -> Iterator[dict[str, Any]]:
    """The completed rows in order, as plain values, by a cursor on the server."""
    found = (
        Registration.objects.in_chain()
        .annotate(user_public_id=F("user__public_id"), key_public_id=F("key__public_id"))
        .values(*COLUMNS, "user_public_id", "key_public_id")
    )
    for row in found.iterator(chunk_size=CHUNK):
        yield {**row, "user": row["user_public_id"], "key": row["key_public_id"]}


def break_at(row: dict[str, Any], expected: int, previous: str) -> str:
    """What is wrong with a row that has to be number `expected`, after one with the hash `previous`."""
    name = f"row {row['sequence']} ({row['operation']} of {row['object_name']}, request {row['request_id']})"
    if row["sequence"] != expected:
        missing = f"row {expected} is" if row["sequence"] == expected + 1 else f"rows from {expected} on are"
        return f"{missing} missing: after row {expected - 1} comes {name}"
    if row["outcome"] == Registration.Outcome.PENDING or chain.digest(row) != row["digest"]:
        return f"{name} was changed after it was completed: its content does not match its digest"
    if chain.link(previous, row["sequence"], row["digest"]) != row["hash"]:
        return f"{name} does not follow from the row before it: its hash, its digest or that row was replaced"
    return ""


def rewritten(row: dict[str, Any], heads: list[Head]) -> str:
    """Whether the row is not what it was when its hash was exported as the chain's head."""
    for head in heads:
        if head.hash != row["hash"]:
            return (
                f"the chain was rewritten: row {head.sequence} had the hash {head.hash[:12]}… when its head was "
                f"exported ({head.at}), and has {row['hash'][:12]}… now"
            )
    return ""


def triggers_problem() -> str:
    """Whether PostgreSQL still keeps the ledger: its triggers are there and on."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname FROM pg_trigger "
            "WHERE tgrelid = 'proxy_registration'::regclass AND NOT tgisinternal AND tgenabled IN ('O', 'A')"
        )
        missing = chain.TRIGGERS - {name for (name,) in cursor.fetchall()}
    if not missing:
        return ""
    return f"PostgreSQL does not keep the ledger: {', '.join(sorted(missing))} is missing or switched off"


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
