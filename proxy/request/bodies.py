"""A request's body: counted, limited, and never taken for complete when it is not."""

import contextlib
import errno
import io
import time
from collections.abc import Callable, Mapping
from typing import Any

from keys.refusals import Refusal, invalid

SMALL_BODY = 64 * 1024  # bytes; the server receives so much without a thread (`portal.http.connections`)
JSON_SECONDS = 60.0  # for receiving a larger body into memory, once its call has a slot


class ClientGone(Exception):
    """The caller disconnected before the end of the body."""


class RequestBody:
    """WSGI's input as a file with `read`.

    `length` is the Content-Length in bytes, None for a chunked body. A body longer than `limit` bytes (0: no limit) is
    refused with 413; `operation` is named there if the limit is its own. A body that ends early raises ClientGone, so
    that half an artifact is never taken for a complete one: the connection to MLflow is then closed without the end of
    its request.
    """

    def __init__(self, stream: Any, *, length: int | None, limit: int, operation: str = "") -> None:
        self._stream = stream
        self._read: Callable[[int], bytes] = stream.read
        self.length = length
        self.limit = limit
        self.operation = operation
        self.count = 0
        self.until = float("inf")  # monotonic clock
        if limit and length is not None and length > limit:
            raise too_large(limit, operation)

    def read(self, size: int = -1) -> bytes:
        if self.length is not None:
            left = self.length - self.count
            size = left if size < 0 else min(size, left)
            if not left:
                return b""
        try:
            data = self._read(size)
        except Exception as error:  # each server raises its own errors for bad chunks and trailers
            self.block_reading()
            raise ClientGone from error
        self.count += len(data)
        if not data and self.length is not None:
            raise ClientGone
        if self.limit and self.count > self.limit:
            raise too_large(self.limit, self.operation)
        return data

    @property
    def is_complete(self) -> bool:
        """Whether every byte of a body of known length was read."""
        return self.count == self.length

    def set_deadline(self, seconds: float) -> None:
        """The body must be complete within this time from now."""
        self.until = time.monotonic() + seconds
        if hasattr(self._stream, "set_deadline"):  # the portal's own server; with others, see `is_late`
            self._stream.set_deadline(self.until)

    @property
    def is_late(self) -> bool:
        return time.monotonic() >= self.until

    def block_reading(self) -> None:
        """Fail every further read from this connection. gunicorn takes malformed chunks for the end of the body, and
        would treat the bytes after them as the next request (request smuggling)."""

        def read(*size: int) -> bytes:
            raise ConnectionResetError(errno.ECONNRESET, "the request's body is broken")

        with contextlib.suppress(AttributeError):
            self._stream.read = read


def request_body(meta: Mapping[str, Any], *, limit: int, operation: str = "") -> RequestBody | None:
    """The body of a request of any method; None if it has none.

    Raises Refusal: 400 for a malformed length or one beside chunks, 413 over `limit` bytes.
    """
    chunked = "chunked" in meta.get("HTTP_TRANSFER_ENCODING", "").lower()
    length = meta.get("CONTENT_LENGTH") or ""
    if chunked and length:
        raise invalid(
            "two_lengths",
            "The request has a Content-Length and is chunked (RFC 9112 §6.3). Send only one.",
        )
    if chunked:
        return RequestBody(meta["wsgi.input"], length=None, limit=limit, operation=operation)
    if not length or length == "0":
        return None
    if not (length.isascii() and length.isdigit()):
        raise invalid("bad_length", "The Content-Length is not a number. Send the body's length in bytes.")
    return RequestBody(meta["wsgi.input"], length=int(length), limit=limit, operation=operation)


def read_whole(body: RequestBody, *, hold: Callable[[int], None] = lambda size: None) -> "WholeBody":
    """The body in memory, for requests that the portal must read, and for chunks, which MLflow's Flask routes drop.

    `hold` waits until so many bytes may be in memory: the body's length, or for chunks, once they are more than
    SMALL_BODY, its limit. Raises Refusal (408) if the body takes too long: it occupies a slot.
    """
    whole = io.BytesIO()
    is_held = body.length is not None
    hold(body.length or 0)
    body.set_deadline(JSON_SECONDS)
    try:
        while piece := body.read(64 * 1024):
            whole.write(piece)
            if not is_held and body.count > SMALL_BODY:
                is_held = True
                hold(body.limit or body.count)
                body.set_deadline(JSON_SECONDS)
            if body.is_late and not body.is_complete:
                body.block_reading()
                raise too_late()
    except ClientGone:
        if body.is_late:
            raise too_late() from None
        raise
    return WholeBody(whole.getvalue())


class WholeBody:
    """A body in memory."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.length = self.count = len(content)


def too_late() -> Refusal:
    return Refusal(
        status=408,
        error_code="REQUEST_TIMEOUT",
        reason="body_too_slow",
        message=f"The body did not arrive within {JSON_SECONDS:.0f} seconds. Send less at once, or use a faster "
        "connection.",
    )


def too_large(limit: int, operation: str = "") -> Refusal:
    remedy = "Log less at once, or ask your administrator to raise the limit."
    return Refusal(
        status=413,
        error_code="RESOURCE_EXHAUSTED",
        reason="body_too_large",
        message=f"The body is larger than {operation or 'this registry'} accepts in one call ({limit:,} bytes). "
        f"{'Send several smaller calls.' if operation else remedy}",
    )
