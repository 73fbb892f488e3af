"""Records on local disk until PostgreSQL has them. Knows nothing of what they say.

Each process appends to a segment of its own: a file of lines, each a CRC-32 in hexadecimal, a space, and the
record. Nothing waits for the disk: what is written survives the process, killed or not, though not a power
cut. The owner holds an flock on its segment; when that is gone, so is the owner, and any other process may
adopt the segment. How far a segment was taken over is not known here but in PostgreSQL, in the transaction
that took it over; the number at the segment's head repeats it for those who only want to count.
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

HEADER = b"%020d\n"  # up to which byte the segment has been taken over
START = len(HEADER % 0)  # bytes; where the first record stands
ROLL_BYTES = (
    8 * 2**20
)  # after which a new segment begins, so that disk is given back as records are taken over
STALE_SECONDS = 60.0  # after which a segment that was never finished being made is rubbish


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some records of a segment, and where they end. `damaged`: lines whose checksum was wrong."""

    records: list[bytes]
    end: int
    damaged: int = 0


class Segment:
    """One file. Its owner appends; whoever holds its lock reads and in the end removes it."""

    def __init__(self, path: Path, descriptor: int, *, size: int) -> None:
        self.path, self.descriptor, self.size = path, descriptor, size
        self.taken: int | None = None  # bytes; None: PostgreSQL has not been asked yet

    @property
    def name(self) -> str:
        return self.path.stem

    @classmethod
    def create(cls, folder: Path, name: str) -> "Segment":
        """A new, empty segment, locked before anyone else can see it. Raises OSError."""
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
        segment.taken = START
        return segment

    @classmethod
    def adopt(cls, path: Path) -> "Segment | None":
        """The segment of a process that is gone; None if its owner lives, or someone else was faster."""
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
        """Raises OSError if it does not fit; what was written of it is then written over by the next."""
        line = b"%08x %b\n" % (zlib.crc32(record), record)
        write(self.descriptor, line, self.size)
        self.size += len(line)

    def read(self, start: int, limit: int) -> Piece:
        """The records from byte `start` on, in about `limit` bytes.

        What stands after the last line's end was being written when its writer was killed, before that call's
        answer ended: it is passed over.
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

    def take(self, end: int) -> None:
        """Everything before byte `end` is in PostgreSQL."""
        self.taken = end
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
    """This process's segments: the last one grows, those before it wait to be taken over. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.Lock()
        self.segments: list[Segment] = []
        self.begin()

    def begin(self) -> None:
        self.pid = os.getpid()
        self.writer, self.number = secrets.token_hex(16), 0  # what its segments' names say

    def append(self, record: bytes) -> None:
        """The record is safe from this process's death when this returns. Raises OSError."""
        with self.lock:
            self.renounce_after_fork()
            if not self.segments or self.segments[-1].size >= ROLL_BYTES:
                self.number += 1
                self.segments.append(Segment.create(self.folder, f"{self.writer}-{self.number:07d}"))
            self.segments[-1].append(record)

    def renounce_after_fork(self) -> None:
        """What was inherited is the parent's."""
        if self.pid != os.getpid():
            for segment in self.segments:
                segment.close()
            self.segments = []
            self.begin()

    def waiting(self) -> list[Segment]:
        """Segments with records to take over, oldest first. Those that are done and no longer grow go."""
        with self.lock:
            while len(self.segments) > 1 and self.segments[0].taken == self.segments[0].size:
                self.segments.pop(0).remove()
            return [segment for segment in self.segments if segment.taken != segment.size]

    def close(self) -> None:
        """Leave: what is taken over goes, the rest waits on disk to be adopted."""
        with self.lock:
            for segment in self.segments:
                if segment.taken == segment.size:
                    segment.remove()
                else:
                    segment.close()
            self.segments = []

    def orphans(self) -> Iterator[Segment]:
        """The segments of processes that are gone, each locked, for the caller to close or remove.

        One process's in their order, for a correction may stand in a later one than its call: none while another
        adopts an earlier one.
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
    """What the names of one process's segments have in common."""
    return path.stem.partition("-")[0]


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """What has not been taken over yet, by all processes of this machine: how many records, and the first
    record of each segment that has any."""

    count: int
    firsts: list[bytes]


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Whole lines of a segment, from byte `start` to byte `end`."""

    start: int
    end: int
    lines: int


class Count:
    """Counts what waits. What it has counted it does not read again, however much waits and however often it is
    asked. Thread-safe."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.known: dict[Path, Stretch] = {}

    def backlog(self, folder: Path) -> Backlog:
        firsts, known = [], {}
        with self.lock:
            for path in folder.glob("*.log"):
                with suppress(OSError, ValueError), path.open("rb") as file:
                    taken = int(file.read(START) or START)
                    known[path] = waiting(file, taken, before=self.known.get(path))
                    file.seek(taken)
                    if known[path].lines:
                        firsts.append(file.readline()[9:-1])
            self.known = known
        return Backlog(count=sum(stretch.lines for stretch in known.values()), firsts=firsts)


def waiting(file: BinaryIO, taken: int, *, before: Stretch | None) -> Stretch:
    """The lines from byte `taken` on, by way of what was counted before."""
    size = os.fstat(file.fileno()).st_size
    if before is None or not before.start <= taken <= before.end <= size:
        before = Stretch(start=taken, end=taken, lines=0)
    gone, more = lines(file, before.start, taken), lines(file, before.end, size)
    return Stretch(start=taken, end=more.end, lines=before.lines - gone.lines + more.lines)


def lines(file: BinaryIO, start: int, end: int) -> Stretch:
    """Those that are whole; the last one may still be being written."""
    count, place, last = 0, start, start
    file.seek(start)
    while place < end and (content := file.read(min(2**20, end - place))):
        count += content.count(b"\n")
        if after := content.rfind(b"\n") + 1:
            last = place + after
        place += len(content)
    return Stretch(start=start, end=last, lines=count)


backlog = Count().backlog
