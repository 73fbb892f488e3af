"""HTTP to one host: no redirects, no proxy, and no private address unless the operator allows it.

A host name is checked when the connection is made, address by address, so that a name that resolves differently the
second time (DNS rebinding) gains nothing.
"""

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: its last 32 bits are an IPv4 address


class ForbiddenAddress(OSError):
    """The host has no address that the portal may connect to."""


class DirectConnection(http.client.HTTPConnection):
    """Connects only to addresses that `is_allowed` accepts."""

    allow_private = False
    allow_loopback_host = True  # a literal loopback host is this machine, whatever `allow_private` says
    advice = "; ALERT_WEBHOOK_ALLOW_PRIVATE would allow the others"

    def connect(self) -> None:
        error: OSError = ForbiddenAddress(f"{self.host} has no public address{self.advice}")
        named = self.host if self.allow_loopback_host else ""
        for family, kind, protocol, _, address in socket.getaddrinfo(
            self.host, self.port, type=socket.SOCK_STREAM
        ):
            if not is_allowed(str(address[0]), host=named, allow_private=self.allow_private):
                continue
            self.sock = socket.socket(family, kind, protocol)
            try:
                self.sock.settimeout(self.timeout)
                self.sock.connect(address)
            except OSError as failure:
                self.sock.close()
                error = failure
            else:
                return
        raise error


class DirectTLSConnection(http.client.HTTPSConnection, DirectConnection):
    """The same over TLS: HTTPSConnection's `connect` calls DirectConnection's."""


def post(url: str, body: bytes, headers: Mapping[str, str], *, timeout: float, allow_private: bool) -> None:
    """POST to the URL. Raises OSError or HTTPException unless the response is 2xx. `timeout`: seconds, for connecting
    and for each read."""
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    connection_class = DirectTLSConnection if is_tls else DirectConnection
    connection = connection_class(
        parts.hostname or "", parts.port or (443 if is_tls else 80), timeout=timeout
    )
    connection.allow_private = allow_private
    try:
        connection.request("POST", parts.path or "/", body=body, headers=dict(headers))
        status = connection.getresponse().status
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise OSError(f"the receiver responded with {status}")


def get(url: str, *, seconds: float, most_bytes: int, allow_private: bool, ca: str = "") -> bytes:
    """The body of a response to GET over TLS. Raises OSError, HTTPException or ValueError unless the response is 200
    and arrives whole within this time and size. `ca`: PEM certificates to trust in place of the system's.

    Anybody who may name the URL would otherwise learn what listens on the portal's own network, so a loopback host
    counts as private too. Without TLS only to loopback, for development.
    """
    parts = urlsplit(url)
    host, is_tls = parts.hostname or "", parts.scheme == "https"
    if not is_tls and not (parts.scheme == "http" and allow_private and is_loopback_host(host)):
        raise ValueError("the URL must begin with https://")
    end = time.monotonic() + seconds
    connection = (
        DirectTLSConnection(
            host, parts.port, timeout=seconds, context=ssl.create_default_context(cadata=ca or None)
        )
        if is_tls
        else DirectConnection(host, parts.port, timeout=seconds)
    )
    connection.allow_private, connection.allow_loopback_host, connection.advice = allow_private, False, ""
    try:
        connection.request("GET", parts.path or "/", headers={"Accept": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise OSError(f"the server responded with {response.status}")
        return read_body(response, end=end, most_bytes=most_bytes)
    finally:
        connection.close()


def read_body(response: http.client.HTTPResponse, *, end: float, most_bytes: int) -> bytes:
    """The body, piece by piece, so that a server that sends a byte now and then does not outlast `end`."""
    body = b""
    while piece := response.read1(65536):
        body += piece
        if len(body) > most_bytes:
            raise OSError(f"the response is longer than {most_bytes} bytes")
        if time.monotonic() > end:
            raise TimeoutError("the response took too long")
    return body


def is_allowed(address: str, *, host: str, allow_private: bool) -> bool:
    """Whether the portal may connect to `address`, to which `host` resolved. A literal loopback host may be loopback,
    because then the receiver runs on the portal's own machine."""
    ip = embedded_address(ipaddress.ip_address(address.partition("%")[0]))
    if allow_private:
        return True
    if is_loopback_host(host):
        return ip.is_loopback
    return ip.is_global and not ip.is_multicast


def embedded_address(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address that an IPv6 address stands for (mapped, 6to4, NAT64), or the address itself."""
    if not isinstance(ip, ipaddress.IPv6Address):
        return ip
    if ip in NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip


def is_loopback_host(host: str) -> bool:
    """Whether a URL's host says itself that it is this machine, whatever a name server says."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
