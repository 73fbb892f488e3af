"""The way to MLflow: connection pools, timeouts, retries, and foreign errors made our own.

The only module that knows urllib3.
"""

import logging
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Protocol
from urllib.parse import urlsplit

import urllib3
from django.conf import settings
from urllib3 import HTTPHeaderDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.util import SKIP_HEADER, Timeout

from keys.refusals import Refusal
from proxy.upstream.breaker import Breaker

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 5.0  # seconds
IDLE_TIMEOUT = 60.0  # seconds without a byte in either direction, the first one of the answer included
BLOCK_SIZE = 64 * 1024  # bytes
PROBE_TIMEOUT = 3.0  # seconds for the breaker's question whether MLflow is back
NATIVE = "/api/2.0/mlflow-artifacts/artifacts/"


class Body(Protocol):
    """A request's body: `read(n)` gives up to n bytes, b"" at its end."""

    def read(self, size: int = -1, /) -> bytes: ...


class Headers(dict[str, str]):
    """Headers that carry the request target with them.

    urllib3 rewrites targets (upper-case escapes, quoting); a query string has to go as it came.
    """

    target: str = ""

    def copy(self) -> "Headers":
        """urllib3 sends a copy."""
        duplicate = Headers(self)
        duplicate.target = self.target
        return duplicate


class ExactTarget(HTTPConnection):
    """Sends `Headers.target`, and gives sending the idle timeout in place of the (shorter) connect timeout."""

    def _new_conn(self) -> socket.socket:
        self.timeout = CONNECT_TIMEOUT
        sock = super()._new_conn()
        self.timeout = IDLE_TIMEOUT
        return sock

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(IDLE_TIMEOUT)

    def request(self, method: str, url: str, body=None, headers=None, **options) -> None:  # type: ignore[no-untyped-def]
        super().request(method, headers.target, body=body, headers=headers, **options)


class ExactTargetOverTLS(ExactTarget, HTTPSConnection):
    pass


class Pool(HTTPConnectionPool):
    ConnectionCls = ExactTarget


class TLSPool(HTTPSConnectionPool):
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
        prepared = prepare(url, "GET", "/health")
        once = Timeout(connect=PROBE_TIMEOUT, read=PROBE_TIMEOUT)
        pool(url).urlopen("GET", "/", headers=prepared, redirect=False, timeout=once).close()

    return Breaker(name, probe)


class Answer:
    """MLflow's answer: status, headers, and the body as it comes off the wire, undecoded.

    Has the attributes that revproxy reads of a response: `status`, `headers`, `stream`, `data`.
    """

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response
        self._content: bytes | None = None
        self.status = response.status
        self.headers = HTTPHeaderDict(response.headers)

    def keep(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Put these headers in place of MLflow's."""
        self.headers = HTTPHeaderDict()
        for name, value in pairs:
            self.headers.add(name, value)

    def replace(self, content: bytes, *, status: int | None = None, content_type: str) -> None:
        """Put this body in place of MLflow's, which is let go."""
        self.close()
        self._content = content
        self.status = status or self.status
        self.keep([("Content-Type", content_type), ("Content-Length", str(len(content)))])

    def peek(self) -> bytes:
        """The whole body, which is then streamed from memory; for small answers that have to be read."""
        if self._content is None:
            self._content = b"".join(self.stream())
        return self._content

    def stream(self, amount: int = BLOCK_SIZE) -> Iterator[bytes]:
        """Pieces of up to `amount` bytes. Raises Refusal if MLflow breaks off; the connection is reused only
        after the last byte."""
        if self._content is not None:
            yield self._content
            return
        finished = False
        try:
            yield from self._response.stream(amount, decode_content=False)
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
    method: str,
    path: str,
    query: str = "",
    headers: Mapping[str, str] | None = None,
    body: Body | bytes | None = None,
    chunked: bool = False,
    timeout: float | None = None,
    is_probe: bool = False,
) -> Answer:
    """One request to the MLflow at `url`; `path` percent-encoded and standard, `timeout` in seconds for each
    wait (default: the module's). Raises Refusal (502, 504) for what goes wrong before the answer's headers, and
    503 at once while the breaker is open, unless it is a probe.

    A call that is safe to send again (GET without a body) is sent once more if a kept-alive connection turns
    out to be dead.
    """
    if not is_probe:
        breaker(url).check()
    prepared = prepare(url, method, path, query, headers)
    started = time.monotonic()
    try:
        answer = attempt(url, method, prepared, body, chunked=chunked, timeout=timeout)
    except Refusal as failure:
        if failure.status in (502, 504):  # another is about the caller's own body
            breaker(url).fail(started)
        raise
    breaker(url).succeed()
    return answer


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


def attempt(
    url: str,
    method: str,
    prepared: Headers,
    body: Body | bytes | None,
    *,
    chunked: bool,
    timeout: float | None,
) -> Answer:
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
                return Answer(response)
            response.close()
            raise broken()
        except ProtocolError as error:
            if not attempts:
                raise refusal(error) from error
        except (HTTPError, OSError, UnicodeError, ValueError) as error:
            raise refusal(error) from error


def target(url: str, method: str, path: str) -> str:
    """MLflow's own path for a standard one (`/api/…`): its base path, static prefix and API mount.

    Artifacts go up and down by the routes that stream, which MLflow (fastapi_app.py) serves without the
    static prefix; those with it are Flask's, which hold a body whole and take a chunked one for empty.
    """
    is_native = method in ("GET", "PUT") and path.startswith(NATIVE)
    if settings.MLFLOW_API == "ajax-api" and path.startswith("/api/"):
        path = "/ajax-api/" + path.removeprefix("/api/")
    return urlsplit(url).path + ("" if is_native else settings.MLFLOW_STATIC_PREFIX) + path


def refusal(error: Exception) -> Refusal:
    """The one map from urllib3's and the socket's errors to ours. Internal addresses stay in the log."""
    logger.warning("upstream_failed", exc_info=error, extra={"error": type(error).__name__})
    if isinstance(error, ConnectTimeoutError | ReadTimeoutError | TimeoutError) and not isinstance(
        error, NewConnectionError
    ):
        return Refusal(
            status=504,
            error_code="DEADLINE_EXCEEDED",
            reason="upstream_timeout",
            message="MLflow did not answer in time. Whether it did what was asked is not known; look before "
            "you try again.",
        )
    if isinstance(error, NewConnectionError | SSLError):
        message = "MLflow cannot be reached just now. The call did not arrive there; try again in a minute."
        return bad_gateway("upstream_unreachable", message)
    return broken()


def is_delimited(response: urllib3.BaseHTTPResponse) -> bool:
    """Whether the answer says where it ends. One that does not looks whole when it is broken off, be it in
    the midst of its headers (RFC 9112 §6.3); MLflow's server always says."""
    lengths = ("Content-Length", "Transfer-Encoding")
    return response.status in (204, 304) or any(name in response.headers for name in lengths)


def broken() -> Refusal:
    return bad_gateway(
        "upstream_broken",
        "MLflow broke off the connection or sent something that is not HTTP. Whether it did what was asked is "
        "not known; look before you try again.",
    )


def bad_gateway(reason: str, message: str) -> Refusal:
    return Refusal(status=502, error_code="TEMPORARILY_UNAVAILABLE", reason=reason, message=message)
