"""A webhook's delivery goes to the configured host and nowhere else: no redirect, no private address behind a name."""

import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from keys import direct_http


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.seen.append(
            (self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"])))
        )
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *arguments: object) -> None:
        pass


def serve(status: int, location: str = "") -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.seen, server.status, server.location = [], status, location
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


@pytest.fixture
def receiver() -> Iterator[ThreadingHTTPServer]:
    server = serve(204)
    yield server
    server.shutdown()
    server.server_close()


def post(url: str, *, allow_private: bool = False) -> None:
    direct_http.post(
        url, b"{}", {"X-Hokusai-Signature": "sha256=1"}, timeout=5.0, allow_private=allow_private
    )


def resolve_to(monkeypatch, *addresses: str) -> None:
    """Every name resolves to these addresses."""
    real = socket.getaddrinfo

    def getaddrinfo(host, port, *arguments, **options):
        found = [real(address, port, *arguments, **options) for address in addresses]
        return [item for items in found for item in items]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_receiver_on_this_machine_is_reached_by_its_literal_name(receiver, host):
    post(f"http://{host}:{receiver.server_port}/hook")

    [(path, headers, body)] = receiver.seen
    assert (path, headers["X-Hokusai-Signature"], body) == ("/hook", "sha256=1", b"{}")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(receiver, status):
    first = serve(status, f"http://127.0.0.1:{receiver.server_port}/stolen")
    with pytest.raises(OSError, match=f"responded with {status}"):
        post(f"http://127.0.0.1:{first.server_port}/hook")
    first.shutdown()
    first.server_close()

    assert len(first.seen) == 1
    assert receiver.seen == []


def test_a_name_that_resolves_to_this_machine_is_not_connected_to(receiver, monkeypatch):
    resolve_to(monkeypatch, "127.0.0.1")
    with pytest.raises(OSError, match="no public address"):
        post(f"http://hooks.example:{receiver.server_port}/hook")
    assert receiver.seen == []

    post(f"http://hooks.example:{receiver.server_port}/hook", allow_private=True)
    assert len(receiver.seen) == 1


def test_each_address_of_a_name_is_checked(receiver, monkeypatch):
    """Of several, only the allowed ones are tried: here none is, whatever their order."""
    resolve_to(monkeypatch, "10.0.0.1", "127.0.0.1", "169.254.169.254")
    with pytest.raises(OSError, match="no public address"):
        post(f"http://hooks.example:{receiver.server_port}/hook")
    assert receiver.seen == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::1",
    ],
)
def test_what_is_not_public_needs_the_setting(address):
    assert not direct_http.is_allowed(address, host="hooks.example", allow_private=False)
    assert direct_http.is_allowed(address, host="hooks.example", allow_private=True)


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"]
)
def test_public_addresses_are_allowed(address):
    assert direct_http.is_allowed(address, host="hooks.example", allow_private=False)


def test_over_tls_the_same_addresses_are_checked(monkeypatch):
    resolve_to(monkeypatch, "127.0.0.1")
    with pytest.raises(OSError, match="no public address"):
        post("https://hooks.example/hook")


def test_without_a_tls_handshake_nothing_is_sent(receiver):
    with pytest.raises(ssl.SSLError):
        post(f"https://127.0.0.1:{receiver.server_port}/hook")
    assert receiver.seen == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_a_loopback_host_may_be_loopback_and_nothing_else(host):
    assert direct_http.is_allowed("127.0.0.1", host=host, allow_private=False)
    assert not direct_http.is_allowed("10.0.0.1", host=host, allow_private=False)


@pytest.mark.parametrize("status", [400, 404, 500])
def test_any_other_status_is_an_error(status):
    server = serve(status)
    with pytest.raises(OSError, match=f"responded with {status}"):
        post(f"http://127.0.0.1:{server.server_port}/hook")
    server.shutdown()
    server.server_close()
