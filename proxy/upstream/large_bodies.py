"""Queues for large bodies, which bound the memory of a process.

A parsed body takes several times its size in memory, and Python parses on one processor anyway, so a process parses one
body above 64 KiB at a time. It holds at most 8 bodies between 256 KiB and 4 MiB, and 2 larger ones, from their arrival
until MLflow has responded. Users take turns, see `proxy.upstream.fair_queue`. No user has more than half of these
places: a slow sender keeps one for a minute, longer than others can wait.
"""

import time
from contextlib import AbstractContextManager, nullcontext

from keys.refusals import Refusal, not_sent
from proxy.upstream.fair_queue import FairQueue
from proxy.upstream.time_share import PROCESSOR

PARSED_ALONE = 64 * 1024  # bytes
LARGE, LARGEST = 256 * 1024, 4 * 1024 * 1024  # bytes
LONGEST_WAIT = 20.0  # seconds


def too_many_large_bodies() -> Refusal:
    return not_sent(
        "large_bodies_busy",
        f"Other large bodies are being processed, and this one waited {LONGEST_WAIT:.0f} seconds for its turn. "
        "The call was not sent. Try again in a few seconds, or send less at once.",
    )


PARSED = FairQueue(
    1, longest_wait=LONGEST_WAIT, refusal=too_many_large_bodies, share=PROCESSOR, clock=time.thread_time
)
HELD = FairQueue(8, most_each=4, longest_wait=LONGEST_WAIT, refusal=too_many_large_bodies)
HELD_LARGEST = FairQueue(2, most_each=1, longest_wait=LONGEST_WAIT, refusal=too_many_large_bodies)


def hold(user: str, size: int) -> AbstractContextManager[None]:
    """Wait until a body of `size` bytes may be in memory. Raises Refusal (429)."""
    if size <= LARGE:
        return nullcontext()
    return (HELD_LARGEST if size > LARGEST else HELD).turn(user)


def parse(user: str, size: int) -> AbstractContextManager[None]:
    """Wait until a body of `size` bytes, decompressed, may be parsed. Raises Refusal (429)."""
    return PARSED.turn(user) if size > PARSED_ALONE else nullcontext()
