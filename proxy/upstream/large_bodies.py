"""Large bodies wait in turn, so that the memory of a process stays bounded whatever its callers send.

A parsed body takes several times its bytes, and Python parses on one processor anyway: one body is parsed at a time.
Before that, a body above 256 KiB waits until it may be read, and counts until MLflow has responded: at most 8 bodies,
of which at most 2 are larger than 4 MiB. Users take turns, see `proxy.upstream.fair_queue`.
"""

from contextlib import AbstractContextManager, nullcontext

from keys.refusals import Refusal, unavailable
from proxy.upstream.fair_queue import FairQueue

PARSED_ALONE = 64 * 1024  # bytes
LARGE, LARGEST = 256 * 1024, 4 * 1024 * 1024  # bytes
LONGEST_WAIT = 20.0  # seconds


def too_many_large_bodies() -> Refusal:
    return unavailable(
        "large_bodies_busy",
        f"Other large bodies are being processed, and this one waited {LONGEST_WAIT:.0f} seconds for its turn. "
        "The call was not sent. Try again in a few seconds, or send less at once.",
    )


PARSED = FairQueue(1, longest_wait=LONGEST_WAIT, refusal=too_many_large_bodies)
HELD = FairQueue(8, longest_wait=LONGEST_WAIT, refusal=too_many_large_bodies)
HELD_LARGEST = FairQueue(2, longest_wait=LONGEST_WAIT, refusal=too_many_large_bodies)


def hold(user: str, size: int) -> AbstractContextManager[None]:
    """Waits until a body of `size` bytes may be in memory. Raises Refusal (503)."""
    if size <= LARGE:
        return nullcontext()
    return (HELD_LARGEST if size > LARGEST else HELD).turn(user)


def parse(user: str, size: int) -> AbstractContextManager[None]:
    """Waits until a body of `size` bytes, decompressed, may be parsed. Raises Refusal (503)."""
    return PARSED.turn(user) if size > PARSED_ALONE else nullcontext()
