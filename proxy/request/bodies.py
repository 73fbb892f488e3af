"""A request's body on its way through: counted, limited, and never mistaken for whole when it is not."""

import contextlib
import errno
import time
from collections.abc import Callable, Mapping
from typing import Any

from keys.refusals import Refusal, invalid

SMALL_BODY = 64 * 1024  # bytes; the server waits for so much without a thread (`portal.http.connections`)
JSON_SECONDS = 60.0  # for a larger one that is read into memory, from when its call has a place


class ClientGone(Exception):
    """The caller broke off before the end of the body; there is nobody left to answer."""


class RequestBody:
    """WSGI's input as a file with `read`.

    `length` is the Content-Length in bytes, None for a chunked body. `limit` in bytes (0: none) refuses a
    longer one with 413. A body that ends early raises ClientGone, so that half an artifact is never taken
    for a whole one; its connection to MLflow is then closed, not ended.
    """

    def __init__(self, stream: Any, *, length: int | None, limit: int) -> None:
        self._stream = stream
        self._read: Callable[[int], bytes] = stream.read
        self.length = length
        self.limit = limit
        self.count = 0
        self.before_piece: Callable[[], None] = lambda: None
        self.until = float("inf")  # monotonic clock
        if limit and length is not None and length > limit:
            raise too_large(limit)

    def read(self, size: int = -1) -> bytes:
        if self.length is not None:
            left = self.length - self.count
            size = left if size < 0 else min(size, left)
            if not left:
                return b""
        self.before_piece()
        try:
            data = self._read(size)
        except Exception as error:  # each server has errors of its own for bad chunks and trailers
            self.spoil()
            raise ClientGone from error
        self.count += len(data)
        if not data and self.length is not None:
            raise ClientGone
        if self.limit and self.count > self.limit:
            raise too_large(self.limit)
        return data

    def within(self, seconds: float) -> None:
        """From now on the body has so long until it must be whole."""
        self.until = time.monotonic() + seconds
        if hasattr(self._stream, "set_deadline"):  # our server's; another's is asked between two pieces
            self._stream.set_deadline(self.until)

    @property
    def is_late(self) -> bool:
        return time.monotonic() >= self.until

    def spoil(self) -> None:
        """Let nothing more be read from this connection. gunicorn takes chunks that broke for chunks that
        ended, and would answer what follows them as the next request (request smuggling)."""

        def read(*size: int) -> bytes:
            raise ConnectionResetError(errno.ECONNRESET, "the request's body broke")

        with contextlib.suppress(AttributeError):
            self._stream.read = read


def request_body(meta: Mapping[str, Any], *, limit: int) -> RequestBody | None:
    """The body that a request carries, whatever its method; None if it has none.

    Raises Refusal: 400 for a length that is not one or comes beside chunks, 413 over `limit` bytes.
    """
    chunked = "chunked" in meta.get("HTTP_TRANSFER_ENCODING", "").lower()
    length = meta.get("CONTENT_LENGTH") or ""
    if chunked and length:
        raise invalid("two_lengths", "The request has a Content-Length and is chunked too (RFC 9112 §6.3).")
    if chunked:
        return RequestBody(meta["wsgi.input"], length=None, limit=limit)
    if not length or length == "0":
        return None
    if not (length.isascii() and length.isdigit()):
        raise invalid("bad_length", "The Content-Length is not a number.")
    return RequestBody(meta["wsgi.input"], length=int(length), limit=limit)


def whole(body: RequestBody) -> "WholeBody":
    """The body in memory, for what has to be read, and for chunks that MLflow's Flask routes would drop.

    Raises Refusal (408) if it takes its time: a call's place is for calls, not for senders.
    """
    pieces = []
    body.within(JSON_SECONDS)
    try:
        while piece := body.read(64 * 1024):
            pieces.append(piece)
            if body.is_late and body.count != body.length:
                body.spoil()
                raise too_late()
    except ClientGone:
        if body.is_late:
            raise too_late() from None
        raise
    return WholeBody(b"".join(pieces))


class WholeBody:
    """A body that is here already."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.length = self.count = len(content)


def too_late() -> Refusal:
    return Refusal(
        status=408,
        error_code="REQUEST_TIMEOUT",
        reason="body_too_slow",
        message=f"The body did not come whole within {JSON_SECONDS:.0f} seconds. Send less at once, or over a "
        "faster connection.",
    )


def too_large(limit: int) -> Refusal:
    return Refusal(
        status=413,
        error_code="RESOURCE_EXHAUSTED",
        reason="body_too_large",
        message=f"The body is larger than this registry takes in one call ({limit:,} bytes). "
        "Log less at once, or ask your administrator to raise the limit.",
    )
