"""Calls and usage as Parquet files, streamed by row group: memory does not grow with the number of rows.

pyarrow writes them. It is larger than all the portal's own dependencies together, so production installs it only with
the extra `parquet`; MLflow, and so `make run`, has it anyway.
"""

import functools
import importlib.util
import io
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

ROWS = 10_000  # of a row group
CHUNK = 200  # rows converted at a time: so that an export keeps the interpreter for a few milliseconds only
WHOLE = frozenset({"calls", "bytes_in", "bytes_out", "status"})
FRACTIONS = frozenset({"duration_ms", "upstream_ms"})
TIMES = frozenset({"at", "start"})


@functools.cache
def is_available() -> bool:
    return importlib.util.find_spec("pyarrow") is not None


class Sink(io.RawIOBase):
    """A file that hands on what was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self.pieces.append(bytes(piece))
        return len(piece)

    def take(self) -> bytes:
        whole, self.pieces = b"".join(self.pieces), []
        return whole


def parquet_pieces(fields: Iterable[str], rows: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """The file: its first bytes at once, then one piece for each row group."""
    import pyarrow
    import pyarrow.parquet

    schema, sink, rows = schema_of(fields), Sink(), iter(rows)
    with pyarrow.parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        yield sink.take()
        while group := read_group(rows, lambda chunk: pyarrow.RecordBatch.from_pylist(chunk, schema=schema)):
            writer.write_table(pyarrow.Table.from_batches(group), row_group_size=ROWS)
            yield sink.take()
    yield sink.take()


def read_group(rows: Iterator[dict[str, Any]], convert: Callable[[list[dict[str, Any]]], Any]) -> list[Any]:
    """The next ROWS rows, converted in chunks."""
    chunks = iter(lambda: list(islice(rows, min(CHUNK, ROWS))), [])
    return [convert(chunk) for chunk in islice(chunks, -(-ROWS // CHUNK))]


def schema_of(fields: Iterable[str]) -> Any:
    import pyarrow

    def type_of(name: str) -> Any:
        if name in TIMES:
            return pyarrow.timestamp("us", tz="UTC")
        if name in WHOLE:
            return pyarrow.int64()
        return pyarrow.float64() if name in FRACTIONS else pyarrow.string()

    return pyarrow.schema([(name, type_of(name)) for name in fields])
