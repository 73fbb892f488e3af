"""One registry write at a time for each registered model's name, across all processes.

Between the ownership check and MLflow's own change, another call could delete, rename or recreate the model. A
registry write therefore locks the name before the final check, and releases it when the new owner is recorded. The
lock is a PostgreSQL advisory lock of this thread's connection: it ends with the connection if the process dies.

A pooler in transaction mode may give each statement to another session, in which such a lock would stay. There, a
transaction of a second connection holds the locks. With DATABASE_LISTEN_URL, that connection is a direct one. Without
it, one call at a time in each process holds locks, so that the pooler has connections left for the rest of the call.
"""

import logging
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import psycopg
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from keys.credentials import cache
from keys.credentials.caller import Caller
from keys.database import DATABASE_ERRORS, database_required, session_parameters
from keys.models import Namespace
from keys.refusals import Refusal, not_sent
from proxy.policy import ownership
from proxy.policy.decisions import Decision
from proxy.request.messages import values
from proxy.routes.objects import ObjectRef

logger = logging.getLogger(__name__)

NAMESPACE = 0x686F6B75  # the first half of the portal's lock numbers, so that they are nobody else's
WAIT_SECONDS = 20.0
NOT_WRITABLE = "The registry cannot be written just now. Try again in a few seconds."

one_at_a_time = threading.BoundedSemaphore(1)  # behind a pooler in transaction mode
direct_connections = threading.BoundedSemaphore(8)  # in each process, with DATABASE_LISTEN_URL


def names_to_lock(decision: Decision) -> list[str]:
    """The registered models' names in a registry write; none for other calls."""
    if not decision.operation.is_registry_write:
        return []
    content = decision.content
    return sorted({str(name) for field in ("name", "new_name") for name in values(content, field) if name})


@contextmanager
def hold(caller: Caller, decision: Decision) -> Iterator[None]:
    """Hold the lock of every name in the call, and check again that the caller may write them.

    Raises Refusal: 429 if a lock is not free within WAIT_SECONDS or PostgreSQL is unavailable, and what
    `ownership.check` raises.
    """
    namespace, names = caller.namespace, names_to_lock(decision)
    numbers = sorted({lock_number(namespace, name) for name in names})
    with hold_in_transaction(numbers) if numbers and not cache.keeps_sessions() else hold_in_session(numbers):
        for name in names:
            ref = ObjectRef(kind="registered_model", name=name)
            ownership.known_owners.drop(ownership.cache_name(namespace, ref))
        if names:
            ownership.check(caller, decision.objects)
            for name in ownership.new_names(decision.match, decision.content):
                ownership.check_name(caller, name)
        yield


@contextmanager
def hold_in_session(numbers: Sequence[int]) -> Iterator[None]:
    held: list[int] = []
    try:
        if numbers:
            ensure_connected()
        for number in numbers:
            acquire(number)
            held.append(number)
        yield
    finally:
        release(held)


@contextmanager
def hold_in_transaction(numbers: Sequence[int]) -> Iterator[None]:
    connections = direct_connections if settings.DATABASE_LISTEN_URL else one_at_a_time
    if not connections.acquire(timeout=WAIT_SECONDS):
        raise busy()
    try:
        holding = begin_transaction(numbers)
        try:
            yield
        finally:
            holding.close()  # an error here must not look like a call that was not sent
    finally:
        connections.release()


def begin_transaction(numbers: Sequence[int]) -> psycopg.Connection:
    """A connection whose transaction holds the locks."""

    def try_once(number: int) -> bool:
        query = "SELECT pg_try_advisory_xact_lock(%s, %s)"
        return holding.execute(query, [NAMESPACE, number]).fetchone() == (True,)

    try:
        holding = psycopg.connect(**session_parameters())
        with ExitStack() as failed:
            failed.callback(holding.close)
            if not all(wait_for(partial(try_once, number)) for number in numbers):
                raise busy()
            failed.pop_all()
        return holding
    except psycopg.Error as error:
        raise not_sent("database_unavailable", NOT_WRITABLE) from error


def lock_number(namespace: Namespace, name: str) -> int:
    """A name's lock; two names may share one, and then wait for each other."""
    return zlib.crc32(f"{namespace} {name}".encode()) - 2**31


def acquire(number: int) -> None:
    with database_required(NOT_WRITABLE):
        try:
            is_acquired = wait_for(lambda: try_once(number))
        except DATABASE_ERRORS as error:
            logger.warning("name_not_locked", exc_info=error, extra={"error": type(error).__name__})
            discard_connection()
            raise
    if not is_acquired:
        raise busy()


def busy() -> Refusal:
    return not_sent("model_busy", "Other calls are writing this model. Try again in a few seconds.")


def wait_for(lock: Callable[[], bool]) -> bool:
    """Whether the lock became free in time."""
    deadline, pause = time.monotonic() + WAIT_SECONDS, 0.002
    while not lock():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
    return True


def try_once(number: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [NAMESPACE, number])
        return bool(cursor.fetchone() == (True,))


def ensure_connected() -> None:
    """Reconnect, before a lock is held, if PostgreSQL was restarted."""
    with suppress(OperationalError, InterfaceError), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return
    if not connection.in_atomic_block:
        reconnect()


def reconnect() -> None:
    """Discard the pooled connections: after a restart of PostgreSQL they are dead."""
    discard_connection()
    if (pool := getattr(connection, "pool", None)) is not None:
        pool.check()


def discard_connection() -> None:
    """End this thread's session and the locks that it may hold: the pool would pass them on with the connection."""
    if connection.in_atomic_block:
        return
    if connection.connection is not None:
        connection.connection.close()
    connection.close()


def release(numbers: Sequence[int]) -> None:
    if not numbers:
        return
    try:
        with connection.cursor() as cursor:
            for number in numbers:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [NAMESPACE, number])
    except DATABASE_ERRORS:
        discard_connection()
