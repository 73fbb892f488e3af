"""The tasks that scan versions. `manage.py alerts` runs them; procrastinate imports this module by its name."""

import logging

from procrastinate import JobContext
from procrastinate.contrib.django import app

from proxy.provenance import scanning
from proxy.provenance.scan.queue import QUEUE, SCAN, queue_scan
from proxy.upstream.registry import RegistryError

logger = logging.getLogger(__name__)


@app.task(name=SCAN, queue=QUEUE, pass_context=True)
def scan(context: JobContext, *, manifest_id: int) -> None:
    """A scan that fails, because MLflow is unavailable or the process stops, is queued again within a minute."""
    try:
        scanning.scan_version(manifest_id, must_stop=context.should_abort)
    except (RegistryError, scanning.Stopped) as error:
        logger.warning("scan_waits", extra={"manifest": manifest_id, "error": type(error).__name__})


@app.periodic(cron="* * * * *")
@app.task(name="versions.queue_missing", queue=QUEUE, queueing_lock="versions.queue_missing")
def queue_missing(timestamp: int) -> None:
    """Queue the recent versions without a scan: those whose scan failed, and those of an earlier release."""
    for manifest_id in scanning.unscanned():
        queue_scan(manifest_id)
