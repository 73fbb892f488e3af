"""Lists as CSV and JSON Lines files.

Rows are streamed, newest first. They are read in pages by keyset, not by one cursor on the server: memory does not
grow with the number of rows, and a slow reader holds no transaction open.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse

from keys.formatting.moments import time_as_json

CHUNK = 200  # rows read at a time: so that an export keeps the interpreter for a few milliseconds only
TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}

# A spreadsheet computes a cell that begins with one of these; the last four are their full-width forms.
FORMULA = r"=+\-@\uff1d\uff0b\uff0d\uff20"
# The start of a cell, blanks and apostrophes included, that a spreadsheet could compute or drop.
START = re.compile(rf"\A(?=[\s']*[{FORMULA}|]|'*[\t\r\n])")
ESCAPED_START = re.compile(rf"\A'(?=[\s']*[{FORMULA}|]|'*[\t\r\n])")
# The same behind a character at which some spreadsheet splits cells.
PART = re.compile(rf"([\t,;|\r\n][\s\"']*)(?=[{FORMULA}])")
ESCAPED_PART = re.compile(rf"([\t,;|\r\n][\s\"']*)'(?=[{FORMULA}])")
QUOTED = re.compile(r'[\t,;|"\r\n]')

Columns = dict[str, Callable[[Any], Any]]  # by name: how to read the value from a row
Row = dict[str, Any]


def download(name: str, columns: Columns, rows: QuerySet[Any], form: str = "csv") -> StreamingHttpResponse:
    """The rows as a file `name`.`form`."""
    return as_file(f"{name}.{form}", TYPES[form], file_pieces(form, list(columns), read(columns, rows)))


def file_pieces(form: str, fields: Iterable[str], rows: Iterable[Row]) -> Iterator[bytes]:
    """The file's bytes; `form` is "csv" or "jsonl"."""
    return in_pieces((csv_lines if form == "csv" else json_lines)(fields, rows))


def as_file(name: str, content_type: str, pieces: Iterable[bytes]) -> StreamingHttpResponse:
    response = StreamingHttpResponse(pieces, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def read(columns: Columns, rows: QuerySet[Any]) -> Iterator[Row]:
    """The columns of all rows, newest first."""
    rows, before = rows.order_by("-pk"), 2**63 - 1
    while page := list(rows.filter(pk__lt=before)[:CHUNK]):
        for row in page:
            yield {name: plain(value(row)) for name, value in columns.items()}
        before = page[-1].pk


def csv_lines(fields: Iterable[str], rows: Iterable[Row]) -> Iterator[str]:
    """CSV (RFC 4180) with a header line."""
    fields = list(fields)
    yield csv_line(fields)
    for row in rows:
        yield csv_line(row[name] for name in fields)


def csv_line(values: Iterable[Any]) -> str:
    return ",".join(quote(cell(value)) for value in values) + "\r\n"


def json_lines(fields: Iterable[str], rows: Iterable[Row]) -> Iterator[str]:
    """One JSON object per line."""
    fields = list(fields)
    for row in rows:
        text = json.dumps({name: row[name] for name in fields}, ensure_ascii=False, default=time_as_json)
        yield f"{text}\n"


def plain(value: Any) -> Any:
    """The value as exports have it: milliseconds rounded to microseconds."""
    return round(value, 3) if isinstance(value, float) else value


def cell(value: Any) -> str:
    """A value as text that no spreadsheet computes as a formula, whether it splits at tab, comma, semicolon or pipe:
    callers choose names, tags and clients. `restore` undoes it."""
    if isinstance(value, dict | list):
        text = json.dumps(value, ensure_ascii=False, sort_keys=True) if value else ""
    else:
        text = "" if value is None else value.isoformat() if hasattr(value, "isoformat") else str(value)
    return PART.sub(r"\1'", START.sub("'", text))


def restore(text: str) -> str:
    """The text that `cell` escaped. docs/api.md shows this function to readers of exports."""
    return ESCAPED_START.sub("", ESCAPED_PART.sub(r"\1", text))


def quote(text: str) -> str:
    """Quoted also for separators other than the comma, so that a program that splits at several keeps cells whole."""
    return '"' + text.replace('"', '""') + '"' if QUOTED.search(text) else text


def in_pieces(lines: Iterable[str], *, size: int = 64 * 1024) -> Iterator[bytes]:
    """Join the lines to large pieces. The first piece is one line, so that the response begins at once."""
    piece: list[str] = []
    length, wanted = 0, 1
    for line in lines:
        piece.append(line)
        length += len(line)
        if length >= wanted:
            yield "".join(piece).encode()
            piece, length, wanted = [], 0, size
    yield "".join(piece).encode()
