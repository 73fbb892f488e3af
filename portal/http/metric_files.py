"""Where the server's processes count, each in files of its own (prometheus_client's multiprocess mode).

When a process has died, killed or not, the server's parent adds its files to one that stays, and removes them.
A full disk costs numbers and nothing else: the files have their room before anything is written into them.
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

KEPT = ("counter", "histogram")  # kinds of numbers that outlive their process
ROOM = 2**19  # bytes of a file; all numbers that the code can name need less


class RoomyDict(MmapedDict):
    """prometheus_client's own maps files with holes: to write into one on a full disk ends the process (SIGBUS).

    Where a file gets no room, its process counts in memory, which nobody else reads.
    """

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if not read_mode and not has_room(filename):
            self._f: Any = None
            self._fname, self._capacity = filename, ROOM
            self._m = mmap.mmap(-1, ROOM)
            self._used, self._positions = 8, {}
            return
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        most = len(key.encode()) + 64  # with its length, padding, value and time
        if self._used + most > self._capacity:
            self.grow()
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def grow(self) -> None:
        capacity = self._capacity * 2
        if self._f:
            with contextlib.suppress(OSError):
                take_room(self._f, capacity)
                self._m, self._capacity = mmap.mmap(self._f.fileno(), capacity), capacity
                return
        memory = mmap.mmap(-1, capacity)
        memory[: self._used] = self._m[: self._used]
        self._m, self._capacity, self._f = memory, capacity, None


def take_room(file: BinaryIO, size: int) -> None:
    """Make the file so long, of bytes that are really there. Raises OSError."""
    missing = size - os.fstat(file.fileno()).st_size
    if missing > 0:
        file.write(bytes(missing))
        file.flush()


def has_room(filename: str) -> bool:
    """Whether the file is there with its room, or could be made so."""
    try:
        with open(filename, "ab") as file:
            take_room(file, ROOM)
    except OSError:
        return False
    return True


def keep_room() -> None:
    """From now on prometheus_client's files are such; to be called before anything is counted."""
    values.MmapedDict = RoomyDict  # type: ignore[attr-defined]


def begin(folder: Path) -> None:
    """Nobody counts yet: what an earlier server has left is not this one's."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    (folder / "lock").touch(mode=0o600)


def bury(folder: Path, pid: int) -> None:
    """The process `pid` is gone: its counts go to those of the dead, its gauges go."""
    with locked(folder, fcntl.LOCK_EX):
        for path in folder.glob(f"*_{pid}.db"):
            kind = path.name.split("_")[0]
            if kind in KEPT:
                add(path, folder / f"{kind}_0.db")
            path.unlink()


def add(source: Path, target: Path) -> None:
    kept = RoomyDict(str(target))
    for name, value, _, _ in MmapedDict.read_all_values_from_file(str(source)):  # type: ignore[no-untyped-call]
        before, stamp = kept.read_value(name)  # type: ignore[no-untyped-call]
        kept.write_value(name, before + value, stamp)  # type: ignore[no-untyped-call]
    kept.close()  # type: ignore[no-untyped-call]


@contextmanager
def locked(folder: Path, mode: int) -> Iterator[None]:
    with (folder / "lock").open() as file:
        fcntl.flock(file, mode)
        yield
