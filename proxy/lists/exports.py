"""Calls and registrations as CSV and JSON Lines: pages, the API and commands give out the same.

Streamed, newest first, in pages by keyset rather than by one cursor on the server: memory stays the same however
many there are, and a slow reader holds no transaction open, for which the log's next partition would wait.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.http import StreamingHttpResponse
from django.utils import timezone

from keys.formatting.csv_export import Echo, in_pieces
from keys.formatting.csv_export import cell as cell  # commands have these from here
from keys.formatting.csv_export import plain as plain
from keys.models import ApiKey, User
from proxy.ledger import compliance
from proxy.models import Registration, RegistrationQuerySet, tag_rules
from proxy.models.calls import Call, CallQuerySet

CHUNK = 1000  # rows read at a time
FIRST = 100  # of them at first, so that a download begins at once
TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}

Row = dict[str, Any]
# Whether a row is wanted, asked with how the tags of its version stand by now ("" if it made none).
Keep = Callable[[Registration, str], bool]

CALL_FIELDS = [
    "request_id",
    "at",
    "user",
    "user_id",
    "key",
    "key_id",
    "operation",
    "method",
    "path",
    "object_kind",
    "object_name",
    "status",
    "reason",
    "bytes_in",
    "bytes_out",
    "duration_ms",
    "upstream_ms",
    "address",
    "client",
    "client_version",
]
REGISTRATION_FIELDS = [
    "sequence",
    "request_id",
    "at",
    "user",
    "user_id",
    "key",
    "key_id",
    "actor",
    "environment",
    "operation",
    "kind",
    "is_prompt",
    "object_name",
    "version",
    "new_name",
    "run_id",
    "source",
    "tags",
    "detail",
    "tag_rules",
    "tag_problems",
    "address",
    "outcome",
    "status",
    "reason",
    "completed_at",
    "created_ms",
    "digest",
    "hash",
]


def calls(found: CallQuerySet) -> Iterator[Row]:
    """Every call of these, latest first."""
    after, size = None, min(FIRST, CHUNK)
    while page := found.with_caller().page(after=after, size=size):
        yield from map(of_call, page)
        after, size = page[-1].cursor, CHUNK


def registrations(found: RegistrationQuerySet, *, keep: Keep | None = None) -> Iterator[Row]:
    """Every registration of these, latest first; with `keep` those that it says."""
    for row, finding in kept(found, keep):
        yield of_registration(row, finding)


def kept(
    found: RegistrationQuerySet, keep: Keep | None, *, before: int | None = None
) -> Iterator[tuple[Registration, tag_rules.Finding | None]]:
    """The rows, latest first and older than `before`, each with how the tags of its version stand by now."""
    size = min(FIRST, CHUNK)
    while page := found.with_people().page(size, before=before):
        standing = rules(page)
        for row in page:
            finding = standing.get(row.pk)
            if keep is None or keep(row, finding.state if finding else ""):
                yield row, finding
        before, size = page[-1].pk, CHUNK


def rules(page: Iterable[Registration]) -> dict[int, tag_rules.Finding]:
    """How the tags stand by now of the versions that these rows made, by the row's id."""
    made = [row for row in page if row.tag_rules is not None and row.outcome in Registration.EFFECTIVE]
    return {pk: version.finding for pk, version in compliance.current_versions(made).items()}


def people(user: User | None, key: ApiKey | None) -> Row:
    """Names beside the ids by which MLflow's tags tell users and keys."""
    return {
        "user": user.username if user else "",
        "user_id": user.public_id if user else "",
        "key": key.name if key else "",
        "key_id": key.public_id if key else "",
    }


def of_call(call: Call) -> Row:
    return ordered(call, CALL_FIELDS, people(call.user, call.key))


def of_registration(row: Registration, finding: tag_rules.Finding | None = None) -> Row:
    """`finding`: how the tags stand, of a row that made a version."""
    known = {
        **people(row.user, row.key),
        "tag_rules": finding.state if finding else "",
        "tag_problems": list(finding.problems) if finding else [],
    }
    return ordered(row, REGISTRATION_FIELDS, known)


def ordered(row: Call | Registration, fields: list[str], known: Row) -> Row:
    return {name: plain(known[name] if name in known else getattr(row, name)) for name in fields}


def csv_lines(fields: list[str], rows: Iterable[Row]) -> Iterator[str]:
    """RFC 4180, with a line of names first."""
    line = csv.writer(Echo(), lineterminator="\r\n")
    yield line.writerow(fields)
    for row in rows:
        yield line.writerow([cell(row[name]) for name in fields])


def json_lines(fields: list[str], rows: Iterable[Row]) -> Iterator[str]:
    """One JSON object a line."""
    for row in rows:
        yield json.dumps({name: row[name] for name in fields}, ensure_ascii=False) + "\n"


def download(name: str, form: str, fields: list[str], rows: Iterable[Row]) -> StreamingHttpResponse:
    """The rows as a file `name`-DAY-TIME.`form`, which is "csv" or "jsonl"."""
    lines = csv_lines(fields, rows) if form == "csv" else json_lines(fields, rows)
    response = StreamingHttpResponse(in_pieces(lines), content_type=TYPES[form])
    stamp = f"{timezone.now():%Y%m%dT%H%M%SZ}"
    response["Content-Disposition"] = f'attachment; filename="{name}-{stamp}.{form}"'
    response["Cache-Control"] = "no-store"
    return response
