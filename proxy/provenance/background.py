"""Makes the manifests of registered versions right after their registration, in one thread of each process.

An advisory lock lets one of all processes make a version's manifest. One that fails, because MLflow or PostgreSQL is
unavailable, is made later.
"""

import functools
import threading

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from keys.models import Namespace
from proxy.ledger.background import Worker
from proxy.models import Registration
from proxy.models.manifests import Manifest
from proxy.provenance import manifests
from proxy.upstream.registry import Registry, RegistryError, registry_of

LOCK = 481_628_330  # the first half of an advisory lock's number; the other is the row's
SECONDS = 2.0  # between two searches for versions that other processes registered
RETRY_SECONDS = 10.0
MOST = 20  # versions of one environment in one pass

is_wanted = threading.Event()


@functools.cache
def start() -> None:
    """Start the thread, once in each process. RECONCILE_SECONDS=0 leaves manifests to `manage.py hash_artifacts`."""
    if settings.RECONCILE_SECONDS:
        Worker(
            "manifest-maker", make_missing, is_wanted, seconds=SECONDS, retry_seconds=RETRY_SECONDS
        ).start()


def wake(row: Registration | None) -> None:
    """A version may have been registered: do not wait for the next search."""
    if row is not None and row.operation == "model-versions.create":
        is_wanted.set()


def make_missing() -> int:
    """Make the manifests that recent versions lack, and return how many. Raises RegistryError and database errors."""
    made, failed = 0, None
    recent = manifests.without_manifest().filter(at__gte=timezone.now() - manifests.RECENT)
    for environment, organisation_id in (
        recent.order_by().values_list("environment", "organisation").distinct()
    ):
        registry = registry_of(Namespace(environment, organisation_id))
        if registry is None:
            continue
        for row in recent.within(registry.namespace).with_people().order_by("-id")[:MOST]:
            try:
                made += make_once(row, registry) is not None
            except RegistryError as error:
                failed = error
    if failed:
        raise failed
    return made


def make_once(row: Registration, registry: Registry) -> Manifest | None:
    """The version's manifest; None if another process makes it, or has made it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [LOCK, row.pk % 2**31])
        if cursor.fetchone() != (True,) or row.manifests.exists():
            return None
        return manifests.make(row, registry)
