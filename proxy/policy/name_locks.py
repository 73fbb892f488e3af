"""One registry write at a time for each registered model's name, across all processes.

Between the ownership check and MLflow's own change, another call could delete, rename or recreate the model. A
registry write therefore locks the name before the final check, and releases it when the new owner is recorded. The
lock is a PostgreSQL advisory lock of this thread's connection: it ends with the connection if the process dies.
"""

import logging
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from django.db import InterfaceError, OperationalError, connection

from keys.credentials.caller import Caller
from keys.database import DATABASE_ERRORS, database_required
from keys.refusals import unavailable
from proxy.policy import ownership
from proxy.policy.decisions import Decision
from proxy.request.messages import values
from proxy.routes.objects import ObjectRef

logger = logging.getLogger(__name__)

NAMESPACE = 0x686F6B75  # the first half of the portal's lock numbers, so that they are nobody else's
WAIT_SECONDS = 20.0


def names_to_lock(decision: Decision) -> list[str]:
    """The registered models' names in a registry write; none for other calls."""
    if not decision.operation.is_registry_write:
        return []
    content = decision.content
    return sorted({str(name) for field in ("name", "new_name") for name in values(content, field) if name})


@contextmanager
def hold(caller: Caller, decision: Decision) -> Iterator[None]:
    """Hold the lock of every name in the call, and check again that the caller may write them.

    Raises Refusal: 503 if a lock is not free within WAIT_SECONDS or PostgreSQL is unavailable, and what
    `ownership.check` raises.
    """
    environment, names = caller.environment, names_to_lock(decision)
    held: list[int] = []
    try:
        if names:
            ensure_connected()
        for number in sorted({lock_number(environment, name) for name in names}):
            acquire(number)
            held.append(number)
        for name in names:
            ref = ObjectRef(kind="registered_model", name=name)
            ownership.known_owners.drop(ownership.cache_name(environment, ref))
        if held:
            ownership.check(caller, decision.objects)
            for name in ownership.new_names(decision.match, decision.content):
                ownership.check_name(caller, name)
        yield
    finally:
        release(held)


def lock_number(environment: str, name: str) -> int:
    """A name's lock; two names may share one, and then wait for each other."""
    return zlib.crc32(f"{environment} {name}".encode()) - 2**31


def acquire(number: int) -> None:
    with database_required("The registry cannot be written just now. Try again in a few seconds."):
        try:
            is_acquired = wait_for(number)
        except DATABASE_ERRORS as error:
            logger.warning("name_not_locked", exc_info=error, extra={"error": type(error).__name__})
            discard_connection()
            raise
    if not is_acquired:
        raise unavailable("model_busy", "Other calls are writing this model. Try again in a few seconds.")


def wait_for(number: int) -> bool:
    """Whether the lock became free in time."""
    deadline, pause = time.monotonic() + WAIT_SECONDS, 0.002
    while not try_once(number):
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
