"""The portal's server on a machine whose clock can be moved: `gunicorn --config python:tests.chaos.moved_clock`.

The file `clock` in DATA_DIR says by how many seconds. What asks for the time of day in Python gets it moved; the
monotonic clock is the machine's, as it is when somebody sets a clock.
"""

import datetime
import os
import time
from pathlib import Path
from typing import Any

from django.utils import timezone

FILE = Path(os.environ["DATA_DIR"]) / "clock"
its_own = time.time


def now() -> float:
    try:
        return its_own() + float(FILE.read_text())
    except FileNotFoundError:
        return its_own()


class Kind(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, REAL)


REAL = datetime.datetime


class Moved(REAL, metaclass=Kind):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
        return REAL.fromtimestamp(now(), tz)


# Before the portal's modules take them from where they are.
time.time = now
time.time_ns = lambda: int(now() * 1e9)
timezone.now = lambda: REAL.fromtimestamp(now(), datetime.UTC)

from portal.server import *  # noqa: E402, F403


def post_worker_init(worker: Any) -> None:
    """The portal's modules ask the module each time; the libraries' own type stays what it is."""
    datetime.datetime = Moved  # type: ignore[misc]
