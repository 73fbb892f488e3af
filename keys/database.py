"""What happens to a request when PostgreSQL is unavailable."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, InterfaceError, connection

from keys.refusals import unavailable

DATABASE_ERRORS = (DatabaseError, InterfaceError)  # Django's InterfaceError is not a DatabaseError


@contextmanager
def database_required(message: str, *, reason: str = "database_unavailable") -> Iterator[None]:
    """Turn a database error in the block into a Refusal (503) with this message and reason."""
    try:
        yield
    except DATABASE_ERRORS as error:
        discard_dead_connections()
        raise unavailable(reason, message) from error


def discard_dead_connections() -> None:
    """Check every idle connection of this process's pool and replace the dead ones in the background.

    A crash of PostgreSQL kills them all at once. Without this, each would fail one request. psycopg's own check at
    checkout (`CONN_HEALTH_CHECKS`) sleeps for a second or more after each dead connection that it finds.
    """
    pool = connection.pool if connection.vendor == "postgresql" else None  # type: ignore[attr-defined]
    if pool is not None and not pool.closed:
        pool.check()
