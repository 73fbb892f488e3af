"""What Django's pool gets as a connection."""

import socket
import threading

import psycopg
import pytest

from keys import pooled_connections
from keys.pooled_connections import PooledConnection
from tests.environment import postgres_url

ACCEPTED = b"R\0\0\0\x08\0\0\0\0" + b"Z\0\0\0\x05I"  # AuthenticationOk, ReadyForQuery


@pytest.mark.postgresql
def test_a_connection_has_been_answered_and_is_clean():
    with PooledConnection.connect(postgres_url("postgres"), autocommit=True) as connection:
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert connection.execute("SELECT 2").fetchone() == (2,)


def test_a_pooler_that_accepts_connections_and_has_no_session_is_an_error(monkeypatch):
    monkeypatch.setattr(pooled_connections, "SESSION_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(ACCEPTED)
                while connection.recv(1000):
                    pass

        pooler = threading.Thread(target=accept)
        pooler.start()
        port = listener.getsockname()[1]
        with pytest.raises(psycopg.OperationalError, match="no response"):
            PooledConnection.connect(
                f"host=127.0.0.1 port={port} user=a dbname=a sslmode=disable gssencmode=disable"
            )
        pooler.join(5)
    assert not pooler.is_alive(), "the connection was closed"
