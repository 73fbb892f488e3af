"""Connections to PostgreSQL outside of Django's pool, and what happens to a request when PostgreSQL is unavailable."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connection, connections
from django.db.backends.signals import connection_created
from psycopg.conninfo import conninfo_to_dict

from keys.refusals import not_sent

DATABASE_ERRORS = (DatabaseError, InterfaceError)  # Django's InterfaceError is not a DatabaseError
RETRY_SECONDS = 10  # the Retry-After that callers get: seven attempts of MLflow's client cover a restart


def connection_parameters() -> dict[str, Any]:
    """The parameters with which psycopg connects as Django does. Without prepared statements: a pooler may give the
    next statement to another session, which does not know them."""
    parameters = connection.get_connection_params()
    for django_only in ("pool", "cursor_factory", "context"):
        parameters.pop(django_only, None)
    return {**parameters, "prepare_threshold": None}


def session_parameters() -> dict[str, Any]:
    """The parameters for a connection that listens or holds locks of its session: past a pooler in transaction mode."""
    parameters = connection_parameters()
    if not settings.DATABASE_LISTEN_URL:
        return parameters
    direct: dict[str, Any] = {**conninfo_to_dict(settings.DATABASE_LISTEN_URL), "prepare_threshold": None}
    for name in ("connect_timeout", "tcp_user_timeout"):
        direct.setdefault(name, parameters.get(name))
    return direct


def holds_connection() -> bool:
    """Whether this thread has a connection from the pool.

    It must not wait for a second one: if the pool, or a pooler in front of PostgreSQL, has fewer connections than the
    portal has threads, all of them could wait for each other.
    """
    return connection.connection is not None


opened = threading.local()  # `here`: whether this thread may have a connection


def note_connection(**event: object) -> None:
    opened.here = True


connection_created.connect(note_connection)


def give_back_connection() -> None:
    """Give this thread's connection back to the pool, if it has one, as Django's `close_old_connections` does. That
    looks for one each time, which takes longer than the rest of the end of a call."""
    if getattr(opened, "here", False):
        own = connections[DEFAULT_DB_ALIAS]
        own.close_if_unusable_or_obsolete()
        opened.here = own.connection is not None


@contextmanager
def database_required(message: str, *, reason: str = "database_unavailable") -> Iterator[None]:
    """Turn a database error in the block into a Refusal (429) with this message and reason."""
    try:
        yield
    except DATABASE_ERRORS as error:
        discard_dead_connections()
        raise not_sent(reason, message, retry_after=RETRY_SECONDS) from error


def discard_dead_connections(alias: str = DEFAULT_DB_ALIAS) -> None:
    """Check every idle connection of this process's pool and replace the dead ones in the background.

    A crash of PostgreSQL kills them all at once. Without this, each would fail one request. psycopg's own check at
    checkout (`CONN_HEALTH_CHECKS`) sleeps for a second or more after each dead connection that it finds.
    """
    database = connections[alias]
    pool = database.pool if database.vendor == "postgresql" else None  # type: ignore[attr-defined]
    if pool is not None and not pool.closed:
        pool.check()
