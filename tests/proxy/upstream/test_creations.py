"""A creation's body is sent when MLflow has asked for it (`Expect: 100-continue`), so that one that MLflow did not get
can be told from one that it may have carried out."""

import socket
from collections.abc import Callable

from proxy.upstream import client
from tests.proxy.upstream.test_client import OK, SHARED, refused, scripted


def asking(*parts: bytes) -> Callable[[socket.socket], None]:
    """Sends the parts, each after what has arrived; then the connection is closed."""

    def play(connection: socket.socket) -> None:
        head = connection.recv(65536)
        assert b"\r\nExpect: 100-continue\r\n" in head
        assert head.endswith(b"\r\n\r\n"), "the body came at once"
        for part in parts:
            connection.sendall(part)
            assert connection.recv(65536) == b"{}"

    return play


def test_a_creation_sends_its_body_when_mlflow_asks_for_it():
    def play(connection: socket.socket) -> None:
        asking(b"HTTP/1.1 100 Continue\r\n\r\n")(connection)
        connection.sendall(OK)

    with scripted(play) as url:
        assert (
            client.send(
                url, workspace=SHARED, method="POST", path="/health", body=b"{}", asks_first=True
            ).data
            == b"ok"
        )


def test_a_creation_whose_body_mlflow_has_not_asked_for_may_be_repeated():
    """MLflow closes connections while it stops; a client of 3.18 repeats the creation after 429 and not after 502."""
    with scripted(asking()) as url:
        assert refused(url, "POST", body=b"{}", asks_first=True).is_not_sent

    with scripted(asking(b"HTTP/1.1 100 Continue\r\n\r\n")) as url:  # it has the body, and ends
        assert refused(url, "POST", body=b"{}", asks_first=True).status == 502


def test_a_server_that_does_not_ask_gets_the_body_and_is_not_waited_for_again(monkeypatch):
    monkeypatch.setattr(client, "CONTINUE_TIMEOUT", 0.05)

    heads = []

    def play(connection: socket.socket) -> None:
        received = b""
        while not received.endswith(b"{}"):
            received += connection.recv(65536)
        heads.append(received)
        connection.sendall(OK)

    with scripted(play, play) as url:
        for _ in range(2):
            assert (
                client.send(
                    url, workspace=SHARED, method="POST", path="/health", body=b"{}", asks_first=True
                ).data
                == b"ok"
            )
    assert b"Expect: 100-continue" in heads[0]
