"""The HTTP client for MLflow: connection pools, timeouts and one retry.

Of the modules here, only those that send and receive, and `failures`, know urllib3.
"""

import select
import socket
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from http.client import HTTPException
from typing import Any, Protocol
from urllib.parse import urlsplit

from django.conf import settings
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
from proxy.upstream.plain_http import BrokenResponse, PlainPool, Timeouts
from proxy.upstream.response_headers import is_delimited
from proxy.upstream.responses import BLOCK_SIZE
from proxy.upstream.responses import UpstreamResponse as UpstreamResponse
from proxy.upstream.workspaces import ServerRoute, Workspace

CONNECT_TIMEOUT = 5.0  # seconds
IDLE_TIMEOUT = 60.0  # seconds without a byte in either direction, up to the response's first byte too
# Only for artifacts: MLflow copies a whole file to or from its store before it sends its first byte.
LONGEST_RESPONSE_WAIT = 6 * 3600.0  # seconds
WAITING_STEP = 20.0  # seconds between two calls of `while_waiting`
PROBE_TIMEOUT = 3.0  # seconds for the breaker's probe
CONTINUE_TIMEOUT = 2.0  # seconds for `100 Continue`; then the body is sent without it (RFC 9110 §10.1.1)
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
    """Headers that carry the request target with them, and `while_waiting` (see `send`).

    urllib3 rewrites targets (upper-case escapes, quoting), but a query string must be sent unchanged.
    """

    target: str = ""
    while_waiting: Callable[[], None] | None = None

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
        super().request(method, headers.target, body=body, headers=headers, **options)

    def getresponse(self) -> Any:
        response = self.wait_for_response(self.while_waiting) if self.while_waiting else super().getresponse()
        # After a 5xx, MLflow's server may close the connection a moment later without saying so. The next call on it,
        # somebody else's perhaps, would fail, and the portal must not repeat a write.
        self.is_reusable = response.status < 500
        return response

    def wait_for_response(self, while_waiting: Callable[[], None]) -> Any:
        """The response, for which the idle timeout begins with its first byte, or after LONGEST_RESPONSE_WAIT."""
        until = time.monotonic() + LONGEST_RESPONSE_WAIT
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
def plain_pool(url: str) -> PlainPool:
    """The kept-alive connections for JSON calls to the MLflow at `url`, if it is plain HTTP."""
    parts = urlsplit(url)
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), *KEEP_ALIVE]
    return PlainPool(parts.hostname or "", parts.port or 80, most=settings.THREADS, options=options)


@cache
def breaker(url: str) -> Breaker:
    """The breaker in front of the MLflow at `url`, one for each process."""
    name = "test" if url == settings.MLFLOW_TEST_URL else "live"

    def probe() -> None:
        prepared = prepare(url, "GET", ServerRoute.HEALTH.value)
        once = Timeout(connect=PROBE_TIMEOUT, read=PROBE_TIMEOUT)
        pool(url).urlopen("GET", "/", headers=prepared, redirect=False, timeout=once).close()

    return Breaker(name, probe)


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
    started = time.monotonic()
    try:
        response = send_with_retry(
            url, method, prepared, body, chunked=chunked, timeout=timeout, asks_first=asks_first
        )
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
    chunked: bool = False,
    timeout: float | None = None,
    asks_first: bool = False,
) -> UpstreamResponse:
    is_plain = url.startswith("http:") and not timeout and not prepared.while_waiting and method != "HEAD"
    if is_plain and (body is None or isinstance(body, bytes)):
        attempt = partial(send_plain, url, method, prepared, body, asks_first=asks_first)
    else:
        attempt = partial(send_stream, url, method, prepared, body, chunked=chunked, timeout=timeout)
    attempts = 2 if method == "GET" and body is None else 1
    while True:
        attempts -= 1
        try:
            return attempt()
        except (ProtocolError, BrokenResponse, ConnectionError) as error:
            if not attempts:
                raise refusal(error) from error
        except (HTTPError, OSError, UnicodeError, ValueError) as error:
            raise refusal(error) from error


def send_plain(
    url: str, method: str, prepared: Headers, body: bytes | None, *, asks_first: bool
) -> UpstreamResponse:
    """Send a request over plain HTTP, with its body in memory."""
    connections = plain_pool(url)

    def on_connect() -> None:
        for listener in connection_listeners:
            listener(connections.host, connections.port)

    response = connections.request(
        method,
        prepared.target,
        {name: value for name, value in prepared.items() if value != SKIP_HEADER},
        body,
        timeouts=Timeouts(connect=CONNECT_TIMEOUT, asking=CONTINUE_TIMEOUT, idle=IDLE_TIMEOUT),
        on_connect=on_connect,
        asks_first=asks_first and bool(body),  # not without content (RFC 9110, 10.1.1)
    )
    return UpstreamResponse(response)


def send_stream(
    url: str,
    method: str,
    prepared: Headers,
    body: Body | bytes | None,
    *,
    chunked: bool,
    timeout: float | None,
) -> UpstreamResponse:
    """Send any request: over TLS, with a streamed body, or while MLflow's store works."""
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
    if not is_delimited(response.status, response.headers):
        response.close()
        raise broken()
    return UpstreamResponse(response)


def target(url: str, method: str, path: str) -> str:
    """The path at MLflow for a standard path (`/api/…`): with its base path, static prefix and API mount.

    Artifact transfers use the routes that stream, which MLflow (fastapi_app.py) serves without the static prefix. The
    routes with the prefix are Flask's: they hold a whole body in memory and treat a chunked one as empty.
    """
    is_native = method in ("GET", "PUT") and path.startswith(NATIVE)
    if settings.MLFLOW_API == "ajax-api" and path.startswith("/api/"):
        path = "/ajax-api/" + path.removeprefix("/api/")
    return urlsplit(url).path + ("" if is_native else settings.MLFLOW_STATIC_PREFIX) + path
