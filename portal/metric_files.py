"""Where the server's processes count, each in files of its own (prometheus_client's multiprocess mode).

When a process has died, killed or not, the server's parent adds its files to one that stays, and removes them.
"""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

KEPT = ("counter", "histogram")  # kinds of numbers that outlive their process


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
    kept = MmapedDict(str(target))  # type: ignore[no-untyped-call]
    for name, value, _, _ in MmapedDict.read_all_values_from_file(str(source)):  # type: ignore[no-untyped-call]
        before, stamp = kept.read_value(name)  # type: ignore[no-untyped-call]
        kept.write_value(name, before + value, stamp)  # type: ignore[no-untyped-call]
    kept.close()  # type: ignore[no-untyped-call]


@contextmanager
def locked(folder: Path, mode: int) -> Iterator[None]:
    with (folder / "lock").open() as file:
        fcntl.flock(file, mode)
        yield
