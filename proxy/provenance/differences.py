"""A file in the store that is not what was recorded: an event of the file, and an alert."""

import logging

from django.utils import timezone

from keys.alerts.notifications import notify
from keys.credentials.caller import Caller
from keys.database import DATABASE_ERRORS
from keys.models import Alert
from proxy.models import ArtifactEvent
from proxy.provenance import events
from proxy.usage.artifact_events import ArtifactRecord

logger = logging.getLogger(__name__)

PATH_SHOWN = 300  # characters


def report(
    expected: ArtifactEvent, *, size: int, sha256: str, caller: Caller | None = None, request_id: str = ""
) -> None:
    """Record what was found in place of `expected`, and alert, once for each content that is found. `caller`: who
    downloaded it, None for the portal itself."""
    path = expected.path
    logger.error("artifact_changed", extra={"request_id": request_id})
    kind = ArtifactEvent.Kind.DIFFERENT
    same = ArtifactEvent.objects.of_path(expected.environment, path)
    if events.ask_database(same.filter(kind=kind, sha256=sha256, at__gte=expected.at).exists):
        return
    event = ArtifactRecord(
        at=timezone.now(),
        environment=expected.environment,
        path=path,
        kind=kind,
        size=size,
        sha256=sha256,
        key_id=caller.key.pk if caller and caller.key else None,
        user_id=caller.user.pk if caller else None,
        request_id=request_id,
    )
    events.write([event])
    try:
        notify(
            kind=Alert.Kind.ARTIFACT,
            key=None,
            occasion=f"{expected.pk} {sha256}",
            path=path[:PATH_SHOWN],
            recorded=expected.sha256,
            found=sha256,
            since=f"{expected.at:%Y-%m-%d %H:%M}",
        )
    except DATABASE_ERRORS:
        logger.exception("artifact_alert_not_written")
