"""Writes events of artifacts: to PostgreSQL at once, or to the spool while PostgreSQL is unavailable.

The next download compares a file with its latest event, so that an event must not wait for the next batch of the usage
log. A spooled event is written to PostgreSQL by `proxy.usage.writer`.
"""

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from django.db import close_old_connections
from django.utils import timezone

from keys.credentials.cache import pulse
from keys.credentials.caller import Caller
from keys.database import DATABASE_ERRORS
from proxy.models import ArtifactEvent
from proxy.models.artifact_events import LONGEST_PATH
from proxy.request import artifact_paths
from proxy.upstream.workspaces import Workspace, store_path
from proxy.usage import recording
from proxy.usage.artifact_events import ArtifactRecord

logger = logging.getLogger(__name__)

Value = TypeVar("Value")
Kind = ArtifactEvent.Kind


def key_path(path: str, workspace: Workspace) -> str:
    """The path under which a file is recorded; "" if it is too long or not one that PostgreSQL can store."""
    stored = store_path(artifact_paths.stored_path(path), workspace)
    try:
        return stored if len(stored.encode()) <= LONGEST_PATH and "\0" not in stored else ""
    except UnicodeEncodeError:
        return ""


def is_database_away() -> bool:
    """Whether the listener has lost PostgreSQL: then no request waits for a connection."""
    return pulse.has_listener and not pulse.is_steady


def ask_database(ask: Callable[[], Value]) -> Value | None:
    """The result of `ask`; None if PostgreSQL is unavailable. The connection goes back to its pool: a transfer may take
    hours."""
    if is_database_away():
        return None
    try:
        return ask()
    except DATABASE_ERRORS:
        logger.exception("artifact_events_unavailable")
        return None
    finally:
        close_old_connections()


def write(events: Iterable[ArtifactRecord]) -> None:
    """Write the events. Never raises for PostgreSQL: what it does not accept waits in the spool."""
    records = list(events)

    def insert() -> bool:
        ArtifactEvent.objects.bulk_create(ArtifactEvent(**record._asdict()) for record in records)
        return True

    if records and not ask_database(insert):
        spool(records)


def spool(records: list[ArtifactRecord]) -> None:
    for record in records:
        try:
            recording.calls.append(record.encode())
        except OSError as error:
            logger.error(
                "artifact_event_not_recorded",
                extra={"request_id": record.request_id, "error": error.strerror},
            )


def make(
    kind: str, path: str, *, caller: Caller, request_id: str, size: int | None = None, sha256: str = ""
) -> ArtifactRecord:
    return ArtifactRecord(
        at=timezone.now(),
        environment=caller.environment,
        path=path,
        kind=kind,
        size=size,
        sha256=sha256,
        key_id=caller.key.pk if caller.key else None,
        user_id=caller.user.pk,
        request_id=request_id,
    )
