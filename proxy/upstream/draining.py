"""Is this portal about to stop? One byte that the server's processes share: its parent sets it, they look.

Pure but for that byte.
"""

import mmap

_shared = mmap.mmap(-1, 1)  # anonymous: whoever is forked after this sees what the others write


def begin() -> None:
    """From now on readiness says no, and new calls are asked to come again."""
    _shared[0] = 1


def has_begun() -> bool:
    return _shared[0] == 1
