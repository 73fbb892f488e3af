"""MLflow's response, whichever client received it."""

from collections.abc import Iterable, Iterator

import urllib3
from urllib3.exceptions import HTTPError

from proxy.upstream.failures import refusal
from proxy.upstream.plain_http import PlainResponse
from proxy.upstream.response_headers import ResponseHeaders

BLOCK_SIZE = 64 * 1024  # bytes


class UpstreamResponse:
    """MLflow's response: status, headers, and the body as received, undecoded.

    It has the attributes that revproxy reads: `status`, `headers`, `stream`, `data`.
    """

    def __init__(self, response: urllib3.BaseHTTPResponse | PlainResponse) -> None:
        self._response = response
        self._content: bytes | None = None
        self.status = response.status
        headers = response.headers
        is_own = isinstance(headers, ResponseHeaders)
        self.headers = headers if is_own else ResponseHeaders(headers.iteritems())

    def keep(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Replace MLflow's headers by these."""
        self.headers = ResponseHeaders(pairs)

    def replace(self, content: bytes, *, status: int | None = None, content_type: str) -> None:
        """Replace MLflow's body by this one, and release its connection."""
        self.close()
        self._content = content
        self.status = status or self.status
        self.keep([("Content-Type", content_type), ("Content-Length", str(len(content)))])

    def drop_body(self) -> None:
        """Keep the headers, for the response to a HEAD request, and release MLflow's connection."""
        self.close()
        self._content = b""

    def peek(self) -> bytes:
        """The whole body, which is then streamed from memory; for small responses that the portal must read."""
        if self._content is None:
            self._content = b"".join(self.stream())
        return self._content

    def stream(self, piece_size: int = BLOCK_SIZE) -> Iterator[bytes]:
        """Pieces of up to `piece_size` bytes. Raises Refusal if MLflow breaks the connection, which is reused only
        after the last byte."""
        if self._content is not None:
            yield self._content
            return
        finished = False
        try:
            yield from self._response.stream(piece_size, decode_content=False)
            finished = True
        except (HTTPError, OSError) as error:
            raise refusal(error) from error
        finally:
            if not finished:
                self._response.close()
            self._response.release_conn()

    @property
    def data(self) -> bytes:
        return b"".join(self.stream())

    def close(self) -> None:
        self._response.close()
        self._response.release_conn()
