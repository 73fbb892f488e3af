"""Ports and local addresses: whether the portal can listen on its port, and a free port for MLflow."""

import contextlib
import errno
import secrets
import socket

from portal.one_machine.supervisor import StartError


def local_url(host: str, port: int) -> str:
    """The URL at which this machine reaches the portal: a wildcard address can be listened on but not called."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def check_port(host: str, port: int) -> None:
    """Raise StartError if the portal cannot listen on host and port."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server itself does
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"port {port} on {host} is taken: stop what listens there, or set another PORT, "
                f"for example PORT={port + 1}"
            ) from None
        raise StartError(
            f"the portal cannot listen on {host} port {port}: {error.strerror or error}"
        ) from None


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens.

    It is below the range of ephemeral ports: an outgoing connection could take one of those before MLflow has imported
    everything and binds it.
    """
    for _ in range(100):
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise StartError("no free port was found on 127.0.0.1")
