"""Lists as CSV files.

Rows are streamed, newest first. They are read in pages by keyset, not by one cursor on the server: memory does not
grow with the number of rows, and a slow reader holds no transaction open.
"""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse

CHUNK = 200  # rows read at a time: so that an export keeps the interpreter for a few milliseconds only

FORMULA = tuple(
    "=+-@|\uff1d\uff0b\uff0d\uff20"
)  # a spreadsheet computes a cell that begins with one of these
PARTED = re.compile(r"([;|]\s*)(?=[=+@-])")  # where a spreadsheet that splits at ; or | begins a cell

Columns = dict[str, Callable[[Any], Any]]  # by name: how to read the value from a row


def download(name: str, columns: Columns, rows: QuerySet[Any]) -> StreamingHttpResponse:
    response = StreamingHttpResponse(in_pieces(lines(columns, rows)), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    response["Cache-Control"] = "no-store"
    return response


def lines(columns: Columns, rows: QuerySet[Any]) -> Iterator[str]:
    """RFC 4180, with a line of names first."""
    writer: Any = csv.writer(Echo(), lineterminator="\r\n")
    yield writer.writerow(columns)
    rows, before = rows.order_by("-pk"), 2**63 - 1
    while page := list(rows.filter(pk__lt=before)[:CHUNK]):
        for row in page:
            yield writer.writerow([cell(plain(value(row))) for value in columns.values()])
        before = page[-1].pk


class Echo:
    """A file for csv.writer, whose `writerow` then returns the line."""

    def write(self, line: str) -> str:
        return line


def plain(value: Any) -> Any:
    """The value as in JSON: times in ISO 8601 with their zone, milliseconds rounded to microseconds."""
    if isinstance(value, float):
        return round(value, 3)
    return value.isoformat() if hasattr(value, "isoformat") else value


def cell(value: Any) -> str:
    """A value as text that no spreadsheet computes as a formula: callers choose names, tags and clients."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True) if value else ""
    text = PARTED.sub(r"\1'", "" if value is None else str(value))
    return f"'{text}" if text.startswith(("\t", "\r", "\n")) or text.lstrip().startswith(FORMULA) else text


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
