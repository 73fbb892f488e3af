"""Records on local disk until they are in PostgreSQL. The spool does not interpret their content.

Each process appends to a segment of its own: a file of lines, each with a CRC-32 in hexadecimal, a space and the
record. A write does not wait for the disk: records survive the end of the process, even SIGKILL, but not a power
failure. The owner holds an flock on its segment. Once the lock is free, the owner has ended, and any other process may
adopt the segment. PostgreSQL stores how much of a segment was written, in the same transaction as the records. The
number at the start of the segment is a copy for readers that only count the backlog.
"""

import errno
import fcntl
import os
import secrets
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

HEADER = b"%020d\n"  # the byte up to which the segment is in PostgreSQL
START = len(HEADER % 0)  # bytes; the offset of the first record
ROLL_BYTES = 8 * 2**20  # above this size a new segment begins, so that disk space is freed in parts
STALE_SECONDS = 60.0  # age at which the file of an unfinished creation is removed


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some records of a segment, and the offset of their end. `damaged`: number of lines with a wrong checksum."""

    records: list[bytes]
    end: int
    damaged: int = 0


class Segment:
    """One file. Its owner appends; the process that holds its lock reads it and finally removes it."""

    def __init__(self, path: Path, descriptor: int, *, size: int) -> None:
        self.path, self.descriptor, self.size = path, descriptor, size
        self.written: int | None = None  # bytes that are in PostgreSQL; None: not read yet

    @property
    def name(self) -> str:
        return self.path.stem

    @classmethod
    def create(cls, folder: Path, name: str) -> "Segment":
        """A new, empty segment, locked before another process can see it. Raises OSError."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{name}.new"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            write(descriptor, HEADER % START, 0)
            path = path.rename(path.with_suffix(".log"))
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        segment = cls(path, descriptor, size=START)
        segment.written = START
        return segment

    @classmethod
    def adopt(cls, path: Path) -> "Segment | None":
        """The segment of a process that has ended; None if its owner still runs or another process was faster."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(descriptor)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return None
            raise
        if status.st_nlink == 0:
            os.close(descriptor)
            return None
        return cls(path, descriptor, size=status.st_size)

    def append(self, record: bytes) -> None:
        """Raises OSError if the disk is full; the next record then overwrites the incomplete one."""
        line = b"%08x %b\n" % (zlib.crc32(record), record)
        write(self.descriptor, line, self.size)
        self.size += len(line)

    def read(self, start: int, limit: int) -> Piece:
        """The records from byte `start` on, in about `limit` bytes.

        Bytes after the last complete line are skipped: the process was killed while it wrote them, before the
        response of that call ended.
        """
        size = self.size
        content = os.pread(self.descriptor, min(limit, size - start), start)
        end = content.rfind(b"\n") + 1
        if not end:
            end = start + len(content) if content else size
            return Piece(records=[], end=end, damaged=1 if end < size else 0)
        records, damaged = [], 0
        for line in content[: end - 1].split(b"\n"):
            record = line[9:]
            if line[:9] == b"%08x " % zlib.crc32(record):
                records.append(record)
            else:
                damaged += 1
        return Piece(records=records, end=start + end, damaged=damaged)

    def mark_written(self, end: int) -> None:
        """Note that everything before byte `end` is in PostgreSQL."""
        self.written = end
        with suppress(OSError):
            os.pwrite(self.descriptor, HEADER % end, 0)

    def close(self) -> None:
        os.close(self.descriptor)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.close()


def write(descriptor: int, content: bytes, position: int) -> None:
    if os.pwrite(descriptor, content, position) != len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Spool:
    """This process's segments: the last one grows, the earlier ones wait for the writer. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.Lock()
        self.segments: list[Segment] = []
        self.reset()

    def reset(self) -> None:
        self.pid = os.getpid()
        self.writer, self.number = secrets.token_hex(16), 0  # parts of its segments' names

    def append(self, record: bytes) -> None:
        """Once this returns, the record survives the end of this process. Raises OSError."""
        with self.lock:
            self.drop_after_fork()
            if not self.segments or self.segments[-1].size >= ROLL_BYTES:
                self.number += 1
                self.segments.append(Segment.create(self.folder, f"{self.writer}-{self.number:07d}"))
            self.segments[-1].append(record)

    def drop_after_fork(self) -> None:
        """Close inherited segments, which belong to the parent process."""
        if self.pid != os.getpid():
            for segment in self.segments:
                segment.close()
            self.segments = []
            self.reset()

    def waiting(self) -> list[Segment]:
        """Segments with records to write, oldest first. Removes those that are written and no longer grow."""
        with self.lock:
            while len(self.segments) > 1 and self.segments[0].written == self.segments[0].size:
                self.segments.pop(0).remove()
            return [segment for segment in self.segments if segment.written != segment.size]

    def close(self) -> None:
        """Remove the segments that are written; the others remain on disk for another process to adopt."""
        with self.lock:
            for segment in self.segments:
                if segment.written == segment.size:
                    segment.remove()
                else:
                    segment.close()
            self.segments = []

    def orphans(self) -> Iterator[Segment]:
        """The segments of processes that have ended, each locked, for the caller to close or remove.

        The segments of one process come in order, because a correction may be in a later segment than its call. While
        another process holds one of them, the later ones are left to it.
        """
        for _, paths in groupby(sorted(self.folder.glob("*.log")), key=writer_of):
            for path in paths:
                if (segment := Segment.adopt(path)) is None:
                    break
                yield segment
        for path in self.folder.glob("*.new"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > STALE_SECONDS:
                    path.unlink()


def writer_of(path: Path) -> str:
    """The common part of the names of one process's segments."""
    return path.stem.partition("-")[0]


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """Records of all processes on this machine that are not in PostgreSQL yet: their number, and the first one of each
    segment."""

    count: int
    firsts: list[bytes]


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Complete lines of a segment, from byte `start` to byte `end`."""

    start: int
    end: int
    count: int


class BacklogCounter:
    """Counts the waiting records, and reads each part of a segment only once. Thread-safe."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.known: dict[Path, Lines] = {}

    def backlog(self, folder: Path) -> Backlog:
        firsts, known = [], {}
        with self.lock:
            for path in folder.glob("*.log"):
                with suppress(OSError, ValueError), path.open("rb") as file:
                    written = int(file.read(START) or START)
                    known[path] = count_waiting(file, written, before=self.known.get(path))
                    file.seek(written)
                    if known[path].count:
                        firsts.append(file.readline()[9:-1])
            self.known = known
        return Backlog(count=sum(lines.count for lines in known.values()), firsts=firsts)


def count_waiting(file: BinaryIO, written: int, *, before: Lines | None) -> Lines:
    """The lines from byte `written` on, based on what was counted before."""
    size = os.fstat(file.fileno()).st_size
    if before is None or not before.start <= written <= before.end <= size:
        before = Lines(start=written, end=written, count=0)
    done, new = count_lines(file, before.start, written), count_lines(file, before.end, size)
    return Lines(start=written, end=new.end, count=before.count - done.count + new.count)


def count_lines(file: BinaryIO, start: int, end: int) -> Lines:
    """The complete lines in these bytes; the last one may still be incomplete."""
    count, position, last = 0, start, start
    file.seek(start)
    while position < end and (content := file.read(min(2**20, end - position))):
        count += content.count(b"\n")
        if after := content.rfind(b"\n") + 1:
            last = position + after
        position += len(content)
    return Lines(start=start, end=last, count=count)


backlog = BacklogCounter().backlog
