"""HTTP to one host: no redirects, no proxy, and no private address unless the operator allows it.

A host name is checked when the connection is made, address by address, so that a name that resolves differently the
second time (DNS rebinding) gains nothing.
"""

import http.client
import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: its last 32 bits are an IPv4 address


class ForbiddenAddress(OSError):
    """The host has no address that the portal may connect to."""


class DirectConnection(http.client.HTTPConnection):
    """Connects only to addresses that `is_allowed` accepts."""

    allow_private = False

    def connect(self) -> None:
        error: OSError = ForbiddenAddress(
            f"{self.host} has no public address; ALERT_WEBHOOK_ALLOW_PRIVATE would allow the others"
        )
        for family, kind, protocol, _, address in socket.getaddrinfo(
            self.host, self.port, type=socket.SOCK_STREAM
        ):
            if not is_allowed(str(address[0]), host=self.host, allow_private=self.allow_private):
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
