"""Whether the portal is about to stop: one byte of shared memory that the server's parent process sets and its
workers read.
"""

import mmap

_shared = mmap.mmap(-1, 1)  # anonymous memory, shared with every process that is forked afterwards


def begin() -> None:
    """From now on readiness fails, and new calls are refused with a request to retry."""
    _shared[0] = 1


def has_begun() -> bool:
    return _shared[0] == 1
