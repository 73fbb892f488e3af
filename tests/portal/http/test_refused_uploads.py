"""The response to an upload that is refused reaches the uploader, also behind proxies in front."""

import select
import socket

import pytest

from tests.portal.http.test_connections import LIVE, TARGET
from tests.proxy.forwarding.test_forwarding import request
from tests.proxy.request.test_bodies import one_answer


def send_until_answered(connection: socket.socket, size: int) -> int:
    """How many of `size` bytes were sent before an answer began."""
    piece, sent = bytes(64 * 1024), 0
    while sent < size and not select.select([connection], [], [], 0)[0]:
        connection.sendall(piece[: size - sent])
        sent += min(len(piece), size - sent)
    return sent


@pytest.mark.postgresql
class TestRefusedUploads:
    SIZE = 40 * 2**20  # more than the buffers of two sockets and what the portal reads after an answer

    @pytest.mark.parametrize(("target", "status"), [(TARGET, 401), (TARGET, 403), ("/account/login/", 413)])
    def test_the_answer_comes_after_the_body_and_the_connection_stays(
        self, target, status, echo, echo_portal
    ):
        """HAProxy, Apache and Caddy lose one that comes earlier."""
        issued = (
            {"key": "hk_live_nonsense"} if status == 401 else echo_portal.issue("dan", "--preset", "reader")
        )
        with socket.create_connection(("127.0.0.1", echo_portal.port), timeout=20) as connection:
            head = request("PUT", target, issued, f"Content-Length: {self.SIZE}")
            connection.sendall(head.replace(b"Connection: close\r\n", b""))
            assert send_until_answered(connection, self.SIZE) == self.SIZE
            assert one_answer(connection).status == status
            connection.sendall(LIVE)
            assert one_answer(connection).status == 200
        assert not echo.arriving

    def test_a_body_that_is_too_long_to_be_read_is_answered_before_it(self, echo_portal):
        head = request("PUT", TARGET, {"key": "nonsense"}, f"Content-Length: {100 * 2**30}")
        with socket.create_connection(("127.0.0.1", echo_portal.port), timeout=20) as connection:
            connection.sendall(head)
            assert send_until_answered(connection, self.SIZE) < self.SIZE
            assert one_answer(connection).status == 401

    def test_a_client_that_asks_first_is_refused_before_it_sends(self, echo_portal):
        head = request("PUT", TARGET, {"key": "nonsense"}, "Content-Length: 70000", "Expect: 100-continue")
        assert echo_portal.exchange(head).status == 401
