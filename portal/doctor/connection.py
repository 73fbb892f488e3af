"""Connections and requests to a portal, and their responses. Redirects are reported, never followed."""

import contextlib
import json
import os
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from portal.doctor.address import Address, proxy_for
from portal.doctor.failures import WRONG_HOST_NAMES, describe_failure, no_tls, unknown_name
from portal.doctor.outcomes import Failed

CONNECT_TIMEOUT = 5.0  # seconds
READ_TIMEOUT = 90.0  # seconds; the portal responds within 60, if only with an error
USER_AGENT = "hokusai-doctor"
# The certificates that MLflow's client (through requests) is told to trust, by precedence.
BUNDLE_VARIABLES = ("MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(kw_only=True)
class Reply:
    """A response that was read completely."""

    method: str
    path: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    skew: float | None = None

    @property
    def request_id(self) -> str:
        return self.headers.get("X-Request-ID", "")

    @property
    def content(self) -> dict[str, Any]:
        """The JSON object in the body; {} if there is none."""
        try:
            content = json.loads(self.body)
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}

    @property
    def error_code(self) -> str:
        return str(self.content.get("error_code", ""))

    @property
    def message(self) -> str:
        """The response's error message in one line, with the request id by which an administrator finds the call."""
        text = str(self.content.get("message") or self.content.get("detail") or "")
        if not text:
            kind = self.headers.get("Content-Type", "").partition(";")[0] or "no content type"
            text = f"{self.method} {self.path} was answered with status {self.status} ({kind})"
            if kind == "text/plain" and self.body:
                text += f": {self.body[:300].decode(errors='replace')}"
        text = " ".join(text.split())[:600]
        if not self.request_id or self.request_id in text:  # the portal's own messages end with it
            return text
        return f"{text} (request {self.request_id})"


@dataclass
class Connection:
    """Requests to one portal, one at a time over kept-alive connections."""

    to: Address
    ca: str = ""
    replies: list[Reply] = field(default_factory=list)

    def __post_init__(self) -> None:
        proxy = proxy_for(self.to)
        options: dict[str, Any] = {
            "timeout": urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT),
            "retries": False,
            "ssl_context": self.context() if self.to.is_tls else None,
        }
        if proxy:
            parts = urlsplit(proxy)
            login = f"{parts.username}:{parts.password or ''}" if parts.username else None
            headers = urllib3.make_headers(proxy_basic_auth=login)
            self.pool: urllib3.PoolManager = urllib3.ProxyManager(proxy, proxy_headers=headers, **options)
        else:
            self.pool = urllib3.PoolManager(**options)

    def context(self) -> ssl.SSLContext:
        """Trusts the same certificates as MLflow's client: the given file, or else the environment's, or else certifi's
        if it is installed, or else the system's."""
        bundle = self.ca or next((os.environ[name] for name in BUNDLE_VARIABLES if os.environ.get(name)), "")
        if not bundle:
            with contextlib.suppress(ImportError):
                import certifi

                bundle = certifi.where()
        try:
            if os.path.isdir(bundle):
                return ssl.create_default_context(capath=bundle)
            return ssl.create_default_context(cafile=bundle or None)
        except OSError as error:  # ssl.SSLError too: no certificate in the file
            raise Failed(
                f"The file of trusted certificates “{bundle}” cannot be used: {error.strerror or error}.",
                "It must be readable and contain certificates in PEM form (-----BEGIN CERTIFICATE-----).",
            ) from None

    def close(self) -> None:
        self.pool.clear()

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: Any = None,
        body: bytes | None = None,
    ) -> Reply:
        """One request; `path` starts at the host's root and is decoded, `content` is sent as JSON. Raises Failed if
        there is no response."""
        sent = {"User-Agent": USER_AGENT, "Accept": "*/*", **(headers or {})}
        if content is not None:
            body = json.dumps(content).encode()
            sent["Content-Type"] = "application/json"
        target = self.to.origin + quote(path) + (f"?{urlencode(query)}" if query else "")
        before = time.time()
        try:
            response = self.pool.request(method, target, body=body, headers=sent, redirect=False)
        except (HTTPError, OSError, ValueError) as error:
            raise describe_failure(error, self.to) from error
        reply = Reply(
            method=method,
            path=path,
            status=response.status,
            headers=response.headers,
            body=response.data,
            skew=skew(response.headers.get("Date", ""), before, time.time()),
        )
        self.replies.append(reply)
        return reply


def skew(date: str, before: float, after: float) -> float | None:
    """The least number of seconds by which the server's clock is ahead, from its Date header (whole seconds)."""
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
    if theirs > after:
        return theirs - after
    return min(theirs + 1 - before, 0.0)


def resolve_host(to: Address) -> list[str]:
    """The addresses of the host. Raises Failed if its name is unknown."""
    try:
        entries = socket.getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise unknown_name(to) from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))


def connect(to: Address) -> socket.socket:
    """A connection to any of the host's addresses. Raises Failed."""
    try:
        return socket.create_connection((to.host, to.port), timeout=CONNECT_TIMEOUT)
    except OSError as error:
        raise describe_failure(error, to) from error


@dataclass(frozen=True, kw_only=True)
class Handshake:
    version: str
    days_left: float


def handshake(to: Address, context: ssl.SSLContext) -> Handshake:
    """A TLS handshake with full verification. Raises Failed."""
    with connect(to) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=to.host) as secured:
                certificate = secured.getpeercert() or {}
                ends = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
                return Handshake(version=secured.version() or "TLS", days_left=(ends - time.time()) / 86400)
        except TimeoutError as error:  # a plain http server waits for the rest of the request
            raise no_tls(to, "no response to the TLS handshake") from error
        except OSError as error:
            raise describe_failure(error, to, names=certificate_names(to, context, error)) from error


def certificate_names(to: Address, context: ssl.SSLContext, error: OSError) -> str:
    """The names of the certificate, if a wrong name is its only problem."""
    if getattr(error, "verify_code", 0) not in WRONG_HOST_NAMES:
        return ""
    context.check_hostname = False
    try:
        with connect(to) as plain, context.wrap_socket(plain, server_hostname=to.host) as secured:
            names: Any = (secured.getpeercert() or {}).get("subjectAltName", ())
            return ", ".join(str(name) for _, name in names)
    except (OSError, Failed):
        return ""
    finally:
        context.check_hostname = True
