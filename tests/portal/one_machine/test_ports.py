import socket

import pytest

from portal.one_machine import ports
from portal.one_machine.supervisor import StartError


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("portal.internal", "http://portal.internal:8000"),
    ],
)
def test_a_wildcard_address_is_called_at_loopback(host: str, url: str) -> None:
    assert ports.local_url(host, 8000) == url


def test_a_free_port_is_fine_and_a_taken_one_is_not() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"port {port} on 127.0.0.1 is taken"):
            ports.check_port("127.0.0.1", port)
    ports.check_port("127.0.0.1", port)


def test_a_host_that_does_not_exist_is_a_start_error() -> None:
    with pytest.raises(StartError, match=r"cannot listen on no-such-host\.invalid"):
        ports.check_port("no-such-host.invalid", 8000)


def test_a_free_port_is_below_the_range_the_system_hands_out() -> None:
    assert 20_000 <= ports.free_port() < 32_000
