"""Streamed bodies of requests and responses: counted for the usage log, and throttled while others call."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.http import HttpResponseBase, StreamingHttpResponse

from proxy.request.bodies import RequestBody
from proxy.usage.recording import CallInProgress


class RecordedBody:
    """A streamed request body that counts its bytes in its call's record."""

    def __init__(self, body: RequestBody, call: CallInProgress) -> None:
        self.body, self.call = body, call
        self.length = body.length

    def read(self, size: int = -1) -> bytes:
        if self.call.slot and not self.body.is_complete:
            self.call.slot.throttle()
        try:
            return self.body.read(size)
        finally:
            self.call.bytes_in = self.body.count


class RecordedResponse:
    """A streamed response that counts its bytes. It records its call before it yields the last byte, so that this
    process cannot end between a complete response and its record, or when it is closed early.

    `unbounded` is the caller's connection if its end is the end of the response."""

    def __init__(
        self, pieces: Iterator[bytes], call: CallInProgress, length: int | None, unbounded: Any = None
    ) -> None:
        self.pieces = pieces
        self.call = call
        self.length = length
        self.is_complete = False
        self.unbounded = unbounded
        if unbounded:
            unbounded.begin_unbounded()

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            if self.call.slot:
                self.call.slot.throttle()
            if self.length and self.call.bytes_out + len(piece) == self.length:
                self.call.record(bytes_out=self.length)
            yield piece
            self.call.bytes_out += len(piece)
        self.is_complete = True
        if self.unbounded:
            self.unbounded.end_unbounded()
        self.call.record()  # the end of a chunked response, or the headers of an empty one, are not sent yet

    def close(self) -> None:
        if not self.is_complete:
            self.call.reason = self.call.reason or "cut_off"
        if hasattr(self.pieces, "close"):
            self.pieces.close()
        self.call.end()


def record_response(
    response: HttpResponseBase, call: CallInProgress, meta: Mapping[str, Any], *, status: int = 0
) -> HttpResponseBase:
    """The response, which records its call when its last byte is sent. `status` replaces the response's in the log."""
    call.status = status or response.status_code
    if isinstance(response, StreamingHttpResponse):
        text = response.headers.get("Content-Length", "")
        length = int(text) if text.isdecimal() else None
        connection = meta.get("gunicorn.socket")
        is_unbounded = length is None and meta.get("SERVER_PROTOCOL") == "HTTP/1.0"
        response.streaming_content = RecordedResponse(
            iter(response.streaming_content),  # type: ignore[arg-type]
            call,
            length,
            connection if is_unbounded and hasattr(connection, "begin_unbounded") else None,
        )
    else:
        call.bytes_out = len(response.content)  # type: ignore[attr-defined]
        call.end()
    return response
