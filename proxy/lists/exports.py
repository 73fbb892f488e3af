"""Calls, usage and registrations as CSV and JSON Lines, the same for pages, the API and commands. The log and usage
also as Parquet.

Rows are streamed, newest first, in pages by keyset rather than from one cursor on the server: memory stays constant,
and a slow reader holds no transaction open, which would block the creation of the log's next partition.
"""

import sys
from collections.abc import Callable, Iterable, Iterator

from django.http import StreamingHttpResponse
from django.utils import timezone

from keys.formatting.csv_export import TYPES as TYPES
from keys.formatting.csv_export import Row, as_file, file_pieces, plain
from keys.formatting.csv_export import csv_lines as csv_lines  # re-exported
from keys.formatting.csv_export import json_lines as json_lines
from keys.models import ApiKey, User
from proxy.ledger import compliance
from proxy.lists import parquet
from proxy.models import Registration, RegistrationQuerySet, tag_rules
from proxy.models.calls import Call, CallQuerySet

CHUNK = 200  # rows read at a time: so that an export keeps the interpreter for a few milliseconds only
FIRST = 100  # rows in the first read, so that a download starts at once
LOG_TYPES = {**TYPES, "parquet": "application/vnd.apache.parquet"}  # of calls and usage
# Whether to include a row, given the label of its version: the state of its tags, or "quarantined" ("": no version).
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
    "organisation",
    "subject",
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
    "quarantine",
    "organisation",
    "subject",
]


def calls(matching: CallQuerySet) -> Iterator[Row]:
    """All these calls as rows, latest first."""
    after, size = None, min(FIRST, CHUNK)
    while page := matching.with_caller().page(after=after, size=size):
        yield from map(of_call, page)
        after, size = page[-1].cursor, CHUNK


def registrations(matching: RegistrationQuerySet, *, keep: Keep | None = None) -> Iterator[Row]:
    """All these registrations as rows, latest first; with `keep`, only those that it accepts."""
    for row, finding in with_findings(matching, keep):
        yield of_registration(row, finding)


def with_findings(
    matching: RegistrationQuerySet, keep: Keep | None, *, before: int | None = None
) -> Iterator[tuple[Registration, tag_rules.Finding | None]]:
    """The rows that `keep` accepts, latest first and older than `before`, each with the current finding about its
    version's tags."""
    for page, findings in checked_pages(matching.with_people(), before=before):
        for row in page:
            finding = findings.get(row.pk)
            if keep is None or keep(row, finding.label if finding else ""):
                yield row, finding


def checked_pages(
    matching: RegistrationQuerySet, *, before: int | None = None, most: int = sys.maxsize
) -> Iterator[tuple[list[Registration], dict[int, tag_rules.Finding]]]:
    """At most `most` rows page by page, latest first and older than `before`, with the findings about their versions by
    the row's id."""
    size = min(FIRST, CHUNK)
    while page := matching.page(min(size, most), before=before):
        yield page, rules(page)
        before, size, most = page[-1].pk, CHUNK, most - len(page)


def rules(page: Iterable[Registration]) -> dict[int, tag_rules.Finding]:
    """How the versions that these rows created stand by now, by the row's id."""
    return compliance.findings(
        row
        for row in page
        if row.operation == "model-versions.create" and row.outcome in Registration.EFFECTIVE
    )


def people(user: User | None, key: ApiKey | None) -> Row:
    """The names of user and key, and their public ids, which MLflow's tags contain."""
    return {
        "user": user.username if user else "",
        "user_id": user.public_id if user else "",
        "key": key.name if key else "",
        "key_id": key.public_id if key else "",
    }


def of_call(call: Call) -> Row:
    return order_fields(
        call, CALL_FIELDS, {**people(call.user, call.key), "organisation": call.organisation.slug}
    )


def of_registration(row: Registration, finding: tag_rules.Finding | None = None) -> Row:
    """`finding`: about the version's tags, if the row created a version."""
    known = {
        **people(row.user, row.key),
        "tag_rules": finding.state if finding else "",
        "tag_problems": list(finding.problems) if finding else [],
        "quarantine": finding.quarantine if finding else "",
        "organisation": row.organisation.slug,
    }
    return order_fields(row, REGISTRATION_FIELDS, known)


def order_fields(row: Call | Registration, fields: list[str], known: Row) -> Row:
    return {name: plain(known[name] if name in known else getattr(row, name)) for name in fields}


def download(name: str, form: str, fields: list[str], rows: Iterable[Row]) -> StreamingHttpResponse:
    """The rows as a file `name`-DAY-TIME.`form`, which is a key of LOG_TYPES."""
    is_parquet = form == "parquet"
    pieces = parquet.parquet_pieces(fields, rows) if is_parquet else file_pieces(form, fields, rows)
    return as_file(f"{name}-{timezone.now():%Y%m%dT%H%M%SZ}.{form}", LOG_TYPES[form], pieces)


def log_forms() -> list[str]:
    """The forms in which this installation writes calls and usage."""
    return [form for form in LOG_TYPES if form != "parquet" or parquet.is_available()]
