"""Hashes a body while it streams. Pure.

hashlib releases the interpreter's lock for pieces of more than 2 KiB, so that other calls continue meanwhile.
"""

import hashlib
from typing import Protocol

EMPTY = hashlib.sha256().hexdigest()


class Source(Protocol):
    """A request's body that counts its bytes. `length`: None for a chunked body."""

    length: int | None

    def read(self, size: int = -1, /) -> bytes: ...


class HashedBody:
    """A request body that computes the SHA-256 of what is read from it."""

    def __init__(self, body: Source) -> None:
        self.body = body
        self.length = body.length
        self.count = 0
        self.is_complete = body.length == 0
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self.body.read(size)
        if piece:
            self.sha256.update(piece)
            self.count += len(piece)
        self.is_complete = self.count == self.length if self.length is not None else not piece
        return piece
