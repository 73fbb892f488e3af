"""The files in which each server process keeps its metrics (prometheus_client's multiprocess mode).

When a process has ended, the parent process adds its files to a permanent one and removes them. A full disk costs
metrics and nothing else: each file gets its disk space before anything is written into it.
"""

import contextlib
import fcntl
import mmap
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

KEPT = ("counter", "histogram")  # kinds of metrics that outlive their process
FILE_SIZE = 2**19  # bytes; all metrics of the code need less


class AllocatedDict(MmapedDict):
    """prometheus_client maps sparse files, and a write into one on a full disk ends the process (SIGBUS).

    This allocates the file first. If that fails, the process counts in memory, which no other process reads.
    """

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if not read_mode and not can_allocate(filename):
            self._f: Any = None
            self._fname, self._capacity = filename, FILE_SIZE
            self._m = mmap.mmap(-1, FILE_SIZE)
            self._used, self._positions = 8, {}
            return
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        needed = len(key.encode()) + 64  # with its length, padding, value and time
        if self._used + needed > self._capacity:
            self.grow()
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def grow(self) -> None:
        capacity = self._capacity * 2
        if self._f:
            with contextlib.suppress(OSError):
                allocate(self._f, capacity)
                self._m, self._capacity = mmap.mmap(self._f.fileno(), capacity), capacity
                return
        memory = mmap.mmap(-1, capacity)
        memory[: self._used] = self._m[: self._used]
        self._m, self._capacity, self._f = memory, capacity, None


def allocate(file: BinaryIO, size: int) -> None:
    """Extend the file to `size` bytes that are allocated on disk. Raises OSError."""
    missing = size - os.fstat(file.fileno()).st_size
    if missing > 0:
        file.write(bytes(missing))
        file.flush()


def can_allocate(filename: str) -> bool:
    """Whether the file has its size on disk or could be extended to it."""
    try:
        with open(filename, "ab") as file:
            allocate(file, FILE_SIZE)
    except OSError:
        return False
    return True


process = {"id": os.getpid()}


def note_process() -> None:
    process["id"] = os.getpid()


def use_allocated_files() -> None:
    """Make prometheus_client use AllocatedDict; call it before anything is counted. It asks for the process's id each
    time that something is counted, so it gets one that is known since the fork."""
    values.MmapedDict = AllocatedDict  # type: ignore[attr-defined]
    os.register_at_fork(after_in_child=note_process)
    values.ValueClass = values.MultiProcessValue(lambda: process["id"])  # type: ignore[no-untyped-call]


def begin(folder: Path) -> None:
    """Start with an empty folder: an earlier server's metrics are not this one's."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    (folder / "lock").touch(mode=0o600)


def collect(folder: Path, pid: int) -> None:
    """Add the counts of the ended process `pid` to the permanent file and remove its files."""
    with lock_folder(folder, fcntl.LOCK_EX):
        for path in folder.glob(f"*_{pid}.db"):
            kind = path.name.split("_")[0]
            if kind in KEPT:
                add(path, folder / f"{kind}_0.db")
            path.unlink()


def add(source: Path, target: Path) -> None:
    kept = AllocatedDict(str(target))
    for name, value, _, _ in MmapedDict.read_all_values_from_file(str(source)):  # type: ignore[no-untyped-call]
        before, stamp = kept.read_value(name)  # type: ignore[no-untyped-call]
        kept.write_value(name, before + value, stamp)  # type: ignore[no-untyped-call]
    kept.close()  # type: ignore[no-untyped-call]


@contextmanager
def lock_folder(folder: Path, mode: int) -> Iterator[None]:
    with (folder / "lock").open() as file:
        fcntl.flock(file, mode)
        yield
