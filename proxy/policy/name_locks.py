"""One write at a time for each registered model's name, over all processes.

Between the check of whose a model is and what MLflow does with the call, the model could be deleted, renamed, or
made anew by another; so a registry write takes the name's turn before it is checked for good, and gives it back
when whose the result is has been written down. The turn is an advisory lock of PostgreSQL's on this thread's
connection: it ends with the connection, should the process die.
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
from proxy.policy.permissions import Permit
from proxy.request.messages import values
from proxy.routes.objects import ObjectRef

logger = logging.getLogger(__name__)

SPACE = 0x686F6B75  # the first half of our locks' numbers, so that they are nobody else's
WAIT_SECONDS = 20.0


def names(permit: Permit) -> list[str]:
    """The registered models' names that a registry write is about; none for other calls."""
    operation = permit.match.operation
    if operation.is_read or not operation.scopes[0].startswith("registry:"):
        return []
    found = {str(name) for field in ("name", "new_name") for name in values(permit.content, field) if name}
    return sorted(found)


@contextmanager
def taken(caller: Caller, permit: Permit) -> Iterator[None]:
    """Hold the turn of every name that the call is about, and check anew that it may write them.

    Raises Refusal: 503 if a turn does not come within WAIT_SECONDS or PostgreSQL is away, and what
    `ownership.check` raises.
    """
    environment = caller.environment
    wanted = sorted({number(environment, name) for name in names(permit)})
    held: list[int] = []
    try:
        if wanted:
            ensure_connected()
        for lock in wanted:
            take(lock)
            held.append(lock)
        for name in names(permit):
            ownership.remembered.drop(
                ownership.remembered_as(environment, ObjectRef(kind="registered_model", name=name))
            )
        if held:
            ownership.check(caller, permit.things)
            for name in ownership.new_names(permit.match, permit.content):
                ownership.check_name(caller, name)
        yield
    finally:
        give_back(held)


def number(environment: str, name: str) -> int:
    """A name's lock; two names may share one, and then wait for each other."""
    return zlib.crc32(f"{environment} {name}".encode()) - 2**31


def take(lock: int) -> None:
    with database_required("The registry cannot be written just now. Try again in a few seconds."):
        try:
            is_taken = wait_for(lock)
        except DATABASE_ERRORS as error:
            logger.warning("turn_not_taken", exc_info=error, extra={"error": type(error).__name__})
            discard()
            raise
    if not is_taken:
        raise unavailable(
            "model_busy", "Other calls are writing this model just now. Try again in a few seconds."
        )


def wait_for(lock: int) -> bool:
    """Whether the lock came in time."""
    deadline, pause = time.monotonic() + WAIT_SECONDS, 0.002
    while not try_once(lock):
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
    return True


def try_once(lock: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [SPACE, lock])
        return bool(cursor.fetchone() == (True,))


def ensure_connected() -> None:
    """Find out now whether PostgreSQL was restarted, before a lock is held."""
    with suppress(OperationalError, InterfaceError), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return
    if not connection.in_atomic_block:
        connect_afresh()


def connect_afresh() -> None:
    """Throw away the connections that were kept: after a restart of PostgreSQL they are dead."""
    discard()
    if (pool := getattr(connection, "pool", None)) is not None:
        pool.check()


def discard() -> None:
    """End this thread's session and with it the turns it may hold: the pool would hand them on with it."""
    if connection.in_atomic_block:
        return
    if connection.connection is not None:
        connection.connection.close()
    connection.close()


def give_back(locks: Sequence[int]) -> None:
    if not locks:
        return
    try:
        with connection.cursor() as cursor:
            for lock in locks:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [SPACE, lock])
    except DATABASE_ERRORS:
        discard()
