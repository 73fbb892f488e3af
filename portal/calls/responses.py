"""gunicorn's requests and responses, with less to do for each: head and body of a small response leave in one piece,
and headers that are the same each time are not checked again."""

import functools
import time
from collections.abc import Iterable
from typing import Any

from gunicorn import util
from gunicorn.http import message, parser, wsgi

MOST_AT_ONCE = 64 * 1024  # bytes of the first piece of a body that is sent with the head
KNOWN_HEADERS: set[tuple[str, str]] = set()  # constant ones, which need no check


@functools.lru_cache(maxsize=2)
def date_of(second: int) -> str:
    """The value of `Date`."""
    return str(util.http_date(second))


class Request(message.Request):  # type: ignore[misc]
    """A request whose headers never set the scheme or another WSGI variable, because `forwarded_allow_ips` is empty.
    gunicorn would compare the client's address for each request to find this out."""

    def _peer_trusted_for_forwarded(self) -> tuple[dict[str, str], list[str]]:
        return {}, []


class Response(wsgi.Response):  # type: ignore[misc]
    """A response that sends its head with the first piece of its body, if the body's length is known."""

    headers_sent: bool
    sent: int

    def process_headers(self, headers: Iterable[tuple[str, str]]) -> None:
        for header in headers:
            if header in KNOWN_HEADERS:
                self.headers.append(header)
            else:
                super().process_headers((header,))

    def default_headers(self) -> list[str]:
        connection = "upgrade" if self.upgrade else "close" if self.should_close() else "keep-alive"
        version, status = self.req.version, self.status
        lines = [
            f"HTTP/{version[0]}.{version[1]} {status}\r\n",
            f"Server: {self.version}\r\n",
            f"Date: {date_of(int(time.time()))}\r\n",
            f"Connection: {connection}\r\n",
        ]
        return [*lines, "Transfer-Encoding: chunked\r\n"] if self.chunked else lines

    def write(self, piece: Any) -> None:
        is_first = not self.headers_sent and not self._omits_body and isinstance(piece, bytes)
        if not is_first or self.response_length is None or len(piece) > MOST_AT_ONCE:
            super().write(piece)
            return
        piece = piece[: self.response_length]
        lines = [*self.default_headers(), *(f"{name}: {value}\r\n" for name, value in self.headers), "\r\n"]
        self.sock.sendall("".join(lines).encode("latin-1") + piece)
        self.headers_sent = True
        self.sent += len(piece)


def use() -> None:
    """Let gunicorn make these requests and responses, and one `wsgi.errors` for all requests."""
    wsgi.Response = Response
    parser.RequestParser.mesg_class = Request
    wsgi.WSGIErrorsWrapper = functools.cache(wsgi.WSGIErrorsWrapper)
