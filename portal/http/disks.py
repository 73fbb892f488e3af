"""The disks below DATA_DIR: that of the spool, and that of the embedded MLflow's artifacts."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from keys.formatting.sizes import format_size

LEAST_BYTES = 1024**3
LEAST_SHARE = 0.05  # of the disk


def problem() -> str:
    """Which disk is nearly full; "" if none is. Without a disk that cannot be read, because then other checks fail."""
    for name, folder in folders():
        try:
            disk = shutil.disk_usage(folder)
        except OSError:
            continue
        if is_nearly_full(total=disk.total, free=disk.free):
            return f"The disk of {name} is nearly full: {format_size(disk.free)} of {format_size(disk.total)} are free"
    return ""


def folders() -> Iterator[tuple[str, Path]]:
    """Each with what it holds, if it exists: MLflow's only where it runs on this machine (`make run`)."""
    for name, folder in (("the usage log's spool", "spool"), ("MLflow's artifacts", "artifacts")):
        path = settings.DATA_DIR / folder
        if path.is_dir():
            yield name, path


def is_nearly_full(*, total: int, free: int) -> bool:
    return free < LEAST_BYTES or free < total * LEAST_SHARE
