"""Hashes a body while it streams, beside the thread that transfers it.

hashlib releases the interpreter's lock for pieces of more than 2 KiB. A large body is hashed by one of a few threads, a
mebibyte behind the transfer, so that the transfer waits only if hashing is slower than the network.
"""

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Protocol

EMPTY = hashlib.sha256().hexdigest()
BLOCK = 1024 * 1024  # bytes that are hashed at once, beside the transfer


@cache
def pool() -> ThreadPoolExecutor:
    """The threads of this process that hash."""
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="digest")


class Hasher:
    """SHA-256 of pieces that come one after the other. Not thread-safe."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self.size = 0
        self.pieces: list[bytes] = []
        self.waiting = 0  # bytes in `pieces`
        self.running: Future[None] | None = None

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        self.pieces.append(piece)
        self.waiting += len(piece)
        if self.waiting >= BLOCK:
            self.join()
            self.running = pool().submit(self.hash, self.pieces)
            self.pieces, self.waiting = [], 0

    def hash(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self.sha256.update(piece)

    def join(self) -> None:
        if self.running is not None:
            self.running.result()
            self.running = None

    def hexdigest(self) -> str:
        self.join()
        self.hash(self.pieces)
        self.pieces, self.waiting = [], 0
        return self.sha256.hexdigest()


class Source(Protocol):
    """A request's body that counts its bytes. `length`: None for a chunked body."""

    length: int | None

    def read(self, size: int = -1, /) -> bytes: ...


class HashedBody:
    """A request body that computes the SHA-256 of what is read from it."""

    def __init__(self, body: Source) -> None:
        self.body = body
        self.length = body.length
        self.is_complete = body.length == 0
        self.hasher = Hasher()

    @property
    def count(self) -> int:
        return self.hasher.size

    def read(self, size: int = -1) -> bytes:
        piece = self.body.read(size)
        if piece:
            self.hasher.add(piece)
        self.is_complete = self.count == self.length if self.length is not None else not piece
        return piece
