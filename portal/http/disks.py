"""The disks below DATA_DIR: that of the spool, and that of the embedded MLflow's artifacts.

One thread in each process of the portal raises an alert for a disk that is nearly full, because only the portal's own
machine sees its disks.
"""

import logging
import shutil
import socket
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from django.conf import settings
from django.db import connection

from keys.alerts import end_alert, notify
from keys.database import DATABASE_ERRORS
from keys.formatting.sizes import format_size
from keys.models import Alert

logger = logging.getLogger(__name__)

LEAST_BYTES = 1024**3
LEAST_SHARE = 0.05  # of the disk
ROOM = 1.2  # times the least: an alert ends only then, so that a disk at the limit raises one alert
WATCH_SECONDS = 60.0


class Disk(NamedTuple):
    """`name` says what the disk holds; sizes are bytes."""

    name: str
    total: int
    free: int

    @property
    def is_nearly_full(self) -> bool:
        return self.free < self.least

    @property
    def has_room(self) -> bool:
        return self.free >= self.least * ROOM

    @property
    def least(self) -> float:
        return max(LEAST_BYTES, self.total * LEAST_SHARE)


def problem() -> str:
    """Which disk is nearly full; "" if none is."""
    for disk in disks():
        if disk.is_nearly_full:
            free, total = format_size(disk.free), format_size(disk.total)
            return f"The disk of {disk.name} is nearly full: {free} of {total} are free"
    return ""


def disks() -> Iterator[Disk]:
    """Without a disk that cannot be read, because then other checks fail."""
    for name, folder in folders():
        try:
            usage = shutil.disk_usage(folder)
        except OSError:
            continue
        yield Disk(name, usage.total, usage.free)


def folders() -> Iterator[tuple[str, Path]]:
    """Each with what it holds, if it exists: MLflow's only where it runs on this machine (`make run`)."""
    for name, folder in (("the usage log's spool", "spool"), ("MLflow's artifacts", "artifacts")):
        path = settings.DATA_DIR / folder
        if path.is_dir():
            yield name, path


def update_alerts() -> None:
    """Raise an alert for each disk that is nearly full, once until it has room again. Raises database errors."""
    host = socket.gethostname()
    for disk in disks():
        occasion = f"{disk.name} on {host}"[:100]
        if disk.is_nearly_full:
            free, total = format_size(disk.free), format_size(disk.total)
            notify(
                kind=Alert.Kind.DISK,
                key=None,
                occasion=occasion,
                disk=disk.name,
                host=host,
                free=free,
                total=total,
            )
        elif disk.has_room:
            end_alert(kind=Alert.Kind.DISK, occasion=occasion)


class Watcher(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="disk-watcher", daemon=True)
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.wait(WATCH_SECONDS):
            try:
                update_alerts()
            except DATABASE_ERRORS as error:
                logger.warning("disk_alerts_wait", extra={"error": type(error).__name__})
            finally:
                connection.close()


@cache
def start() -> None:
    """Start the thread, once in each process."""
    Watcher().start()
