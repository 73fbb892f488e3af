"""Connections of Django's pool, each of which has a session of PostgreSQL before anybody uses it."""

import select
from typing import Any, Self

import psycopg

SESSION_SECONDS = 5  # for the first response


class PooledConnection(psycopg.Connection[Any]):
    """A connection whose first query has been answered.

    PgBouncer accepts a connection for which it has no session left. In session mode, that would stay so while the
    sessions are with this process's other pooled connections: a call that got such a connection would wait for as long
    as PgBouncer lets it (`query_wait_timeout`, two minutes), and so would the end of the process.
    """

    @classmethod
    def connect(cls, conninfo: str = "", **options: Any) -> Self:
        """Raises OperationalError if there is no response within SESSION_SECONDS."""
        connection = super().connect(conninfo, **options)
        try:
            connection.require_response()
        except BaseException:
            connection.close()
            raise
        return connection

    def require_response(self) -> None:
        self.pgconn.send_query(b"SELECT 1")
        poller = select.poll()
        poller.register(self.pgconn.socket, select.POLLIN)
        if not poller.poll(SESSION_SECONDS * 1000):
            raise psycopg.OperationalError(
                f"no response within {SESSION_SECONDS} s; is a pooler's pool too small?"
            )
        while result := self.pgconn.get_result():
            if result.status != psycopg.pq.ExecStatus.TUPLES_OK:
                raise psycopg.OperationalError(result.get_error_message())
