"""The queue of versions to scan, in PostgreSQL. `manage.py alerts` works through it (`proxy.provenance.tasks`)."""

from django.db import transaction
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob
from procrastinate.exceptions import AlreadyEnqueued

QUEUE = "scans"
SCAN = "versions.scan"
AT_ONCE = (
    2  # versions that are scanned at a time, by all processes together; the alerts need the others' places
)
PRIORITY = -1  # behind the alerts


def queue_scan(manifest_id: int) -> bool:
    """Queue a version; False if it waits already."""
    task = app.configure_task(
        SCAN,
        queue=QUEUE,
        priority=PRIORITY,
        lock=f"{SCAN} {manifest_id % AT_ONCE}",
        queueing_lock=f"{SCAN} {manifest_id}",
    )
    try:
        with transaction.atomic():  # PostgreSQL refuses a second job, which ends the innermost transaction
            task.defer(manifest_id=manifest_id)
    except AlreadyEnqueued:
        return False
    return True


def waiting_scans() -> int:
    """The number of scans that are queued or run."""
    return ProcrastinateJob.objects.filter(task_name=SCAN, status__in=("todo", "doing")).count()
