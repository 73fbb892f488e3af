"""Verification of the ledger: every row against the hash chain, and the chain against heads exported before.

A person with access to the database can change rows and compute every hash again, or delete the chain's end. The
chain then no longer contains a head that was exported to another place before.
"""

import datetime
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import F

from keys.formatting.moments import format_rfc3339
from keys.models.organisations import SHARED
from proxy.ledger.triggers import find_trigger_problem
from proxy.models import LedgerStamp, Registration, chain

CHUNK = 2000  # rows
PROGRESS_ROWS = 10_000
COLUMNS = [name for name in chain.SEALED if name not in ("user", "key")] + [
    "subject",
    "sequence",
    "digest",
    "hash",
]


@dataclass(frozen=True, kw_only=True)
class Head:
    """The end of the chain at some time. Its hash depends on every row before it."""

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


@dataclass(frozen=True, kw_only=True)
class StampSummary:
    """The time-stamps of the chain as they were verified. `untrusted`: how many of them have signatures that nobody
    verified, because there are no certificates."""

    count: int = 0
    untrusted: int = 0
    first: LedgerStamp | None = None
    last: LedgerStamp | None = None

    def as_json(self) -> dict[str, Any]:
        ends = {"earliest": self.first, "latest": self.last}
        return {
            "count": self.count,
            "untrusted": self.untrusted,
            **{
                name: stamp
                and {
                    "sequence": stamp.sequence,
                    "at": format_rfc3339(stamp.stamped_at),
                    "authority": stamp.authority,
                }
                for name, stamp in ends.items()
            },
        }

    def in_words(self) -> str:
        if not self.first or not self.last:
            return "No head of it has a time-stamp."
        since = f"up to row {self.first.sequence} since {format_rfc3339(self.first.stamped_at)}"
        until = f", and up to row {self.last.sequence} since {format_rfc3339(self.last.stamped_at)}"
        heads = "1 head is" if self.count == 1 else f"{self.count} heads are"
        warning = (
            f" The signatures of {self.untrusted} were not verified: set TIMESTAMP_CERTIFICATES."
            if self.untrusted
            else ""
        )
        return f"{heads} time-stamped: the chain existed {since}{until if self.count > 1 else ''}.{warning}"


@dataclass(kw_only=True)
class Verdict:
    """The result: the number of good rows, the chain's end, its time-stamps, and the first problem ("": none)."""

    rows: int = 0
    head: Head | None = None
    problem: str = ""
    stamps: StampSummary = field(default_factory=StampSummary)


def verify(heads: list[Head] | None = None, *, on_rows: Callable[[int], None] = lambda rows: None) -> Verdict:
    """Check the chain from its beginning to its end or its first break, in constant memory. `on_rows` gets the number
    of rows so far, every PROGRESS_ROWS rows."""
    verdict = Verdict(problem=find_ledger_trigger_problem())
    if verdict.problem:
        return verdict
    wanted: dict[int, list[Head]] = {}
    for head in heads or []:
        wanted.setdefault(head.sequence, []).append(head)
    previous, row = chain.GENESIS, None
    with (
        transaction.atomic()
    ):  # outside a transaction, PostgreSQL would store the cursor's whole result first
        for row in read_rows():
            verdict.problem = find_break(row, verdict.rows + 1, previous) or find_rewrite(
                row, wanted.pop(row["sequence"], [])
            )
            if verdict.problem:
                return verdict
            verdict.rows, previous = row["sequence"], row["hash"]
            if verdict.rows % PROGRESS_ROWS == 0:
                on_rows(verdict.rows)
    if row is not None:
        verdict.head = Head(sequence=row["sequence"], hash=previous, at=format_now())
    if wanted:
        head = wanted[max(wanted)][0]
        verdict.problem = (
            f"the chain's end is missing: it reached row {head.sequence} when its head was recorded ({head.at}), "
            f"and ends with row {verdict.rows} now"
        )
    return verdict


def read_head() -> Head | None:
    """The chain's end, unchecked; None if the ledger is empty."""
    row = Registration.objects.in_chain().last()
    return Head(sequence=row.sequence, hash=row.hash, at=format_now()) if row and row.sequence else None


@dataclass(frozen=True, kw_only=True)
class ChainState:
    """The chain's end without checking the chain, the number of rows that are not in it yet, and why PostgreSQL does
    not protect it ("": it does)."""

    sequence: int
    hash: str
    completed_at: datetime.datetime | None
    pending: int
    problem: str


def read_chain_state() -> ChainState:
    last = Registration.objects.in_chain().last()
    return ChainState(
        sequence=last.sequence or 0 if last else 0,
        hash=last.hash if last else chain.GENESIS,
        completed_at=last.completed_at if last else None,
        pending=Registration.objects.pending().count(),
        problem=find_ledger_trigger_problem(),
    )


def read_rows() -> Iterator[dict[str, Any]]:
    """The completed rows in order, as plain values, through a server-side cursor."""
    completed = (
        Registration.objects.in_chain()
        .annotate(
            user_public_id=F("user__public_id"),
            key_public_id=F("key__public_id"),
            slug=F("organisation__slug"),
        )
        .values(*COLUMNS, "user_public_id", "key_public_id", "slug")
    )
    for row in completed.iterator(chunk_size=CHUNK):
        organisation = "" if row["slug"] == SHARED else row["slug"]
        people = {"user": row["user_public_id"], "key": row["key_public_id"]}
        yield {**row, **people, "organisation": organisation}


def find_break(row: dict[str, Any], expected: int, previous: str) -> str:
    """The problem with a row that must have the number `expected` and follow the hash `previous`; "" if none."""
    name = f"row {row['sequence']} ({row['operation']} of {row['object_name']}, request {row['request_id']})"
    if row["sequence"] != expected:
        missing = f"row {expected} is" if row["sequence"] == expected + 1 else f"rows from {expected} on are"
        return f"{missing} missing: after row {expected - 1} comes {name}"
    if row["outcome"] == Registration.Outcome.PENDING or chain.compute_digest(row) != row["digest"]:
        return f"{name} was changed after it was completed: its content does not match its digest"
    if chain.compute_hash(previous, row["sequence"], row["digest"]) != row["hash"]:
        return f"{name} does not follow from the row before it: its hash, its digest or that row was replaced"
    return ""


def find_rewrite(row: dict[str, Any], heads: list[Head]) -> str:
    """The problem if the row's hash differs from the one that was recorded as the chain's head; "" if there is none."""
    for head in heads:
        if head.hash != row["hash"]:
            return (
                f"the chain was rewritten: row {head.sequence} had the hash {head.hash[:12]}… when its head was "
                f"recorded ({head.at}), and has {row['hash'][:12]}… now"
            )
    return ""


def find_ledger_trigger_problem() -> str:
    return find_trigger_problem("ledger", chain.TRIGGERS, "proxy_registration")


def format_now() -> str:
    return format_rfc3339(datetime.datetime.now(datetime.UTC).replace(microsecond=0))
