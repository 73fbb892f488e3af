"""The HTTP client for MLflow: connection pools, timeouts and one retry.

Only this module and `failures` know urllib3.
"""

import select
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from http.client import HTTPException
from typing import Any, ClassVar, Protocol
from urllib.parse import urlsplit

import urllib3
from django.conf import settings
from urllib3 import HTTPHeaderDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    HTTPError,
    NewConnectionError,
    ProtocolError,
)
from urllib3.util import SKIP_HEADER, Timeout

from keys.refusals import Refusal
from proxy.upstream.breaker import Breaker
from proxy.upstream.failures import broken, refusal
from proxy.upstream.workspaces import ServerRoute, Workspace

CONNECT_TIMEOUT = 5.0  # seconds
IDLE_TIMEOUT = 60.0  # seconds without a byte in either direction, up to the response's first byte too
# Only for artifacts: MLflow copies a whole file to or from its store before it sends its first byte.
MOST_WAITING = 6 * 3600.0  # seconds
WAITING_STEP = 20.0  # seconds between two calls of `while_waiting`
BLOCK_SIZE = 64 * 1024  # bytes
PROBE_TIMEOUT = 3.0  # seconds for the breaker's probe
CONTINUE_TIMEOUT = 2.0  # seconds for `100 Continue`; then the body is sent without it (RFC 9110 §10.1.1)
SILENT_SECONDS = 300.0  # for which a server that did not send it in time is not asked again
NATIVE = "/api/2.0/mlflow-artifacts/artifacts/"

# Called with the server's URL and the workspace before each call. May raise Refusal: the call is not sent then.
workspace_listeners: list[Callable[[str, Workspace], None]] = []
# Called with the host and the port of each new connection, before the request is sent.
connection_listeners: list[Callable[[str, int], None]] = []


# TCP finds out that MLflow's machine is gone while the portal waits for a slow store.
KEEP_ALIVE = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)] + [
    (socket.IPPROTO_TCP, getattr(socket, option), seconds)
    for option, seconds in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
    if hasattr(socket, option)
]


class Body(Protocol):
    """A request's body: `read(n)` returns up to n bytes, b"" at its end."""

    def read(self, size: int = -1, /) -> bytes: ...


class Headers(dict[str, str]):
    """Headers that carry the request target with them, `while_waiting` and `asks_first` (see `send`).

    urllib3 rewrites targets (upper-case escapes, quoting), but a query string must be sent unchanged.
    """

    target: str = ""
    while_waiting: Callable[[], None] | None = None
    asks_first: bool = False

    def copy(self) -> "Headers":
        """urllib3 sends a copy."""
        duplicate = Headers(self)
        duplicate.__dict__.update(self.__dict__)
        return duplicate


class ExactTarget(HTTPConnection):
    """Sends `Headers.target`, and applies the idle timeout to sending in place of the (shorter) connect timeout.

    `is_reusable`: whether the last response allows another request on this connection.
    """

    is_reusable = True
    while_waiting: Callable[[], None] | None = None
    is_asking = False
    silent_until: ClassVar[dict[tuple[str, int], float]] = {}  # by host and port, on the monotonic clock

    def _new_conn(self) -> socket.socket:
        self.timeout = CONNECT_TIMEOUT
        sock = super()._new_conn()
        self.timeout = IDLE_TIMEOUT
        return sock

    def connect(self) -> None:
        """Raises only NewConnectionError: a call that did not leave the portal is not one that MLflow may have
        received."""
        try:
            super().connect()
        except (OSError, HTTPException, HTTPError) as error:
            raise NewConnectionError(self, f"{type(error).__name__}: {error}") from error
        self.sock.settimeout(IDLE_TIMEOUT)
        for listener in connection_listeners:
            listener(self.host, self.port)

    def request(self, method: str, url: str, body=None, headers=None, **options) -> None:  # type: ignore[no-untyped-def]
        self.while_waiting = headers.while_waiting
        self.is_asking = headers.asks_first and self.can_ask()
        if self.is_asking:
            headers = headers.copy()
            headers["Expect"] = "100-continue"
        super().request(method, headers.target, body=body, headers=headers, **options)

    def can_ask(self) -> bool:
        """Not over TLS, where bytes of TLS itself look like a response; the proxy that ends it would respond."""
        is_silent = time.monotonic() < self.silent_until.get((self.host, self.port), 0.0)
        return not is_silent and not isinstance(self, HTTPSConnection)

    def endheaders(self, *arguments: Any, **options: Any) -> None:
        """Send the headers, and wait for MLflow to ask for the body if it must. Raises NewConnectionError if MLflow
        closes the connection without having seen the body: it cannot have carried out the call."""
        if not self.is_asking:
            return super().endheaders(*arguments, **options)
        try:
            super().endheaders(*arguments, **options)
            if not self.has_bytes(CONTINUE_TIMEOUT):
                self.silent_until[self.host, self.port] = time.monotonic() + SILENT_SECONDS
            elif not self.sock.recv(1, socket.MSG_PEEK):
                raise ConnectionResetError("closed before 100 Continue")
        except OSError as error:
            raise NewConnectionError(self, f"{type(error).__name__}: {error}") from error

    def getresponse(self) -> Any:
        response = self.wait_for_response(self.while_waiting) if self.while_waiting else super().getresponse()
        # After a 5xx, MLflow's server may close the connection a moment later without saying so. The next call on it,
        # somebody else's perhaps, would fail, and the portal must not repeat a write.
        self.is_reusable = response.status < 500
        return response

    def wait_for_response(self, while_waiting: Callable[[], None]) -> Any:
        """The response, for which the idle timeout begins with its first byte, or after MOST_WAITING."""
        until = time.monotonic() + MOST_WAITING
        options = self._response_options  # urllib3's, which it takes at the first try
        while True:
            while not self.has_bytes(WAITING_STEP) and time.monotonic() < until:
                while_waiting()
            try:
                return super().getresponse()
            except TimeoutError:  # the bytes were TLS's own
                if not isinstance(self, HTTPSConnection) or time.monotonic() >= until:
                    raise
                self._response_options = options

    def has_bytes(self, seconds: float) -> bool:
        """Whether bytes arrive within this time."""
        poller = select.poll()
        poller.register(self.sock, select.POLLIN)
        return bool(poller.poll(seconds * 1000))


class ExactTargetOverTLS(ExactTarget, HTTPSConnection):
    pass


class Pool(HTTPConnectionPool):
    ConnectionCls = ExactTarget

    def _put_conn(self, conn: Any) -> None:
        if conn is not None and not conn.is_reusable:
            conn.close()
        super()._put_conn(conn)


class TLSPool(Pool, HTTPSConnectionPool):
    ConnectionCls = ExactTargetOverTLS


@cache
def pool(url: str) -> HTTPConnectionPool:
    """The pool of kept-alive connections to the MLflow at `url`, one for each process."""
    parts = urlsplit(url)
    options: dict[str, Any] = {
        "maxsize": settings.THREADS,
        "timeout": Timeout(connect=IDLE_TIMEOUT, read=IDLE_TIMEOUT),  # connecting: see ExactTarget
        "blocksize": BLOCK_SIZE,
        "retries": False,
        "socket_options": [*HTTPConnection.default_socket_options, *KEEP_ALIVE],
    }
    host = parts.hostname or ""
    if parts.scheme == "http":
        return Pool(host, parts.port or 80, **options)
    return TLSPool(
        host,
        parts.port or 443,
        **options,
        cert_reqs="CERT_REQUIRED",
        ca_certs=settings.MLFLOW_CA_BUNDLE or None,
        cert_file=settings.MLFLOW_CLIENT_CERT or None,
        key_file=settings.MLFLOW_CLIENT_KEY or None,
    )


@cache
def breaker(url: str) -> Breaker:
    """The breaker in front of the MLflow at `url`, one for each process."""
    name = "test" if url == settings.MLFLOW_TEST_URL else "live"

    def probe() -> None:
        prepared = prepare(url, "GET", ServerRoute.HEALTH.value)
        once = Timeout(connect=PROBE_TIMEOUT, read=PROBE_TIMEOUT)
        pool(url).urlopen("GET", "/", headers=prepared, redirect=False, timeout=once).close()

    return Breaker(name, probe)


class UpstreamResponse:
    """MLflow's response: status, headers, and the body as received, undecoded.

    It has the attributes that revproxy reads: `status`, `headers`, `stream`, `data`.
    """

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response
        self._content: bytes | None = None
        self.status = response.status
        self.headers = HTTPHeaderDict(response.headers)

    def keep(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Replace MLflow's headers by these."""
        self.headers = HTTPHeaderDict()
        for name, value in pairs:
            self.headers.add(name, value)

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


def send(
    url: str,
    *,
    workspace: Workspace,
    method: str,
    path: str,
    query: str = "",
    headers: Mapping[str, str] | None = None,
    body: Body | bytes | None = None,
    chunked: bool = False,
    timeout: float | None = None,
    while_waiting: Callable[[], None] | None = None,
    asks_first: bool = False,
) -> UpstreamResponse:
    """Send one request to the MLflow at `url`, in an organisation's workspace.

    `path` is percent-encoded and standard; `timeout` in seconds applies to each wait (default: the module's). Raises
    Refusal: 429 if MLflow cannot be reached, at once while the breaker is open; 503 if MLflow does not keep
    organisations apart and must (`proxy.upstream.isolation`); and 502 or 504 for a later failure before the response's
    headers: MLflow may have carried out the call. With `while_waiting`, which is called from time to time and may
    raise, the response's first byte may take as long as a store needs for a large file. With `asks_first`, the body
    follows when MLflow has asked for it (`Expect: 100-continue`): if MLflow closes the connection before that, because
    it stops, the refusal is 429.

    A call that is safe to repeat (GET without a body) is sent once more if a kept-alive connection is dead.
    """
    breaker(url).check()
    for prepare_workspace in workspace_listeners:
        prepare_workspace(url, workspace)
    prepared = prepare(url, method, path, query, {**(headers or {}), **workspace.headers})
    prepared.while_waiting = while_waiting
    prepared.asks_first = asks_first and bool(body)  # not without content (RFC 9110, 10.1.1)
    started = time.monotonic()
    try:
        response = send_with_retry(url, method, prepared, body, chunked=chunked, timeout=timeout)
    except Refusal as failure:
        if failure.status in (502, 504) or failure.is_not_sent:  # others concern the caller's own body
            breaker(url).fail(started)
        if failure.is_not_sent:
            failure.headers = {"Retry-After": str(breaker(url).retry_seconds)}
        raise
    breaker(url).succeed()
    return response


def prepare(
    url: str, method: str, path: str, query: str = "", headers: Mapping[str, str] | None = None
) -> Headers:
    prepared = Headers(headers or {})
    prepared.target = target(url, method, path) + (f"?{query}" if query else "")
    prepared["Host"] = settings.MLFLOW_HOST_HEADER or urlsplit(url).netloc
    prepared.setdefault("User-Agent", SKIP_HEADER)
    prepared.setdefault("Accept-Encoding", SKIP_HEADER)
    if settings.MLFLOW_AUTHORIZATION:
        prepared["Authorization"] = settings.MLFLOW_AUTHORIZATION
    return prepared


def send_with_retry(
    url: str,
    method: str,
    prepared: Headers,
    body: Body | bytes | None,
    *,
    chunked: bool,
    timeout: float | None,
) -> UpstreamResponse:
    attempts = 2 if method == "GET" and body is None else 1
    while True:
        attempts -= 1
        try:
            response = pool(url).urlopen(
                method,
                "/",
                body=body,  # type: ignore[arg-type]  # urllib3 only reads from it
                headers=prepared,
                redirect=False,
                preload_content=False,
                decode_content=False,
                chunked=chunked,
                **({"timeout": Timeout(connect=timeout, read=timeout)} if timeout else {}),  # type: ignore[arg-type]
            )
            if is_delimited(response):
                return UpstreamResponse(response)
            response.close()
            raise broken()
        except ProtocolError as error:
            if not attempts:
                raise refusal(error) from error
        except (HTTPError, OSError, UnicodeError, ValueError) as error:
            raise refusal(error) from error


def target(url: str, method: str, path: str) -> str:
    """The path at MLflow for a standard path (`/api/…`): with its base path, static prefix and API mount.

    Artifact transfers use the routes that stream, which MLflow (fastapi_app.py) serves without the static prefix. The
    routes with the prefix are Flask's: they hold a whole body in memory and treat a chunked one as empty.
    """
    is_native = method in ("GET", "PUT") and path.startswith(NATIVE)
    if settings.MLFLOW_API == "ajax-api" and path.startswith("/api/"):
        path = "/ajax-api/" + path.removeprefix("/api/")
    return urlsplit(url).path + ("" if is_native else settings.MLFLOW_STATIC_PREFIX) + path


def is_delimited(response: urllib3.BaseHTTPResponse) -> bool:
    """Whether the response states its length or is chunked. Without either, a broken response looks complete, even if
    it broke within its headers (RFC 9112 §6.3); MLflow's server always sends one of them."""
    lengths = ("Content-Length", "Transfer-Encoding")
    return response.status in (204, 304) or any(name in response.headers for name in lengths)
