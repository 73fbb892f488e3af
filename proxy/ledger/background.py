"""Settles pending rows of the ledger soon after their calls have failed, and has its head time-stamped, without an
operator. Other modules run their own work in a `Worker`, too.

One thread in each process of the portal looks for pending rows; an advisory lock lets one of all processes work at a
time. What MLflow has carried out is settled within seconds of a 502 or 504. What it has not is settled when the call
has ended for certain (`reconcile.IN_FLIGHT`), because MLflow may still carry it out until then.
"""

import datetime
import functools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from django.conf import settings
from django.db import connection
from django.utils import timezone

from keys.credentials import cache
from keys.database import DATABASE_ERRORS, session_parameters
from keys.models import Namespace
from proxy.ledger import reconcile, stamps
from proxy.models import Call, Registration
from proxy.upstream.registry import RegistryError, registry_of

logger = logging.getLogger(__name__)

LOCK = 4_816_283_302  # an advisory lock's number: one process at a time
MAX_ROWS = 20  # of one organisation in one pass
RETRY_SECONDS = 30.0  # after MLflow or PostgreSQL did not respond
STAMP_SECONDS = 300.0  # between two checks whether a time-stamp is due
YOUNG = datetime.timedelta(seconds=2)  # a call's row in the usage log follows within that time
# The usage log has when a call came in, the ledger when it was sent to MLflow: later by the time that it waited.
WAITED, CLOCK_STEP = datetime.timedelta(minutes=10), datetime.timedelta(minutes=1)


class Worker(threading.Thread):
    """Calls `work` again and again: after `wanted`, or after `seconds`; after a failure, after `retry_seconds`."""

    def __init__(
        self,
        name: str,
        work: Callable[[], object],
        wanted: threading.Event | None = None,
        *,
        seconds: float,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.work, self.wanted = work, wanted or threading.Event()
        self.seconds, self.retry_seconds = seconds, retry_seconds

    def run(self) -> None:
        pause = self.seconds
        while True:
            self.wanted.wait(pause)
            self.wanted.clear()
            pause = self.seconds
            try:
                self.work()
            except (*DATABASE_ERRORS, psycopg.Error, RegistryError) as error:
                pause = self.retry_seconds
                logger.warning("worker_waits", extra={"worker": self.name, "error": type(error).__name__})
            except Exception:
                pause = self.retry_seconds
                logger.exception("worker_failed", extra={"worker": self.name})
            finally:
                connection.close()


@functools.cache
def start() -> None:
    """Start the threads, once in each process. RECONCILE_SECONDS=0 leaves pending rows to `manage.py reconcile`, and
    time-stamps to `manage.py stamp_ledger`."""
    if settings.RECONCILE_SECONDS:
        Worker("ledger-settler", settle, seconds=settings.RECONCILE_SECONDS).start()
    if settings.RECONCILE_SECONDS and settings.TIMESTAMP_URL:
        at_once = threading.Event()
        at_once.set()
        Worker("head-stamper", stamps.stamp_if_due, at_once, seconds=STAMP_SECONDS).start()


def settle() -> int:
    """Settle what can be settled now, and return how many rows that was. Raises RegistryError and database errors."""
    young = timezone.now() - YOUNG
    if not Registration.objects.pending().filter(at__lt=young).exists():
        return 0
    settled = 0
    with one_at_a_time() as is_ours:
        if not is_ours:
            return 0
        since = reconcile.surely_ended()
        waiting = Registration.objects.pending().filter(at__lt=young)
        for environment, organisation_id in (
            waiting.order_by().values_list("environment", "organisation_id").distinct()
        ):
            registry = registry_of(Namespace(environment, organisation_id))
            if registry is None:
                continue
            rows = waiting.within(registry.namespace)
            ended = [
                row for row in rows.with_people().order_by("id")[: 5 * MAX_ROWS] if has_ended(row, since)
            ]
            newest_first = reversed(ended[:MAX_ROWS])
            results = reconcile.reconcile_rows(newest_first, registry, only_done_since=since)
            settled += len(results)
    if settled:
        logger.info("ledger_settled", extra={"rows": settled})
    return settled


def has_ended(row: Registration, since: datetime.datetime) -> bool:
    """Whether the row's call has: it is in the usage log, or it began so long ago."""
    if row.at < since:
        return True
    calls = Call.objects.filter(at__gte=row.at - WAITED, at__lt=row.at + CLOCK_STEP)
    return calls.filter(request_id=row.request_id).exists()


@contextmanager
def one_at_a_time() -> Iterator[bool]:
    """Whether this process may work: no other one does. The lock belongs to the connection, not to a transaction:
    completing a row commits each time, because the chain of hashes is locked until then."""
    if not cache.keeps_sessions():  # behind a pooler in transaction mode, see `proxy.policy.name_locks`
        with psycopg.connect(**session_parameters()) as holding:
            yield holding.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK]).fetchone() == (True,)
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        is_ours = cursor.fetchone() == (True,)
    try:
        yield is_ours
    finally:
        if is_ours:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
