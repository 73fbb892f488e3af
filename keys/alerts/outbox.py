"""The tasks that deliver alerts and look for new ones. `manage.py alerts` runs them, and retries failed deliveries.

procrastinate finds this module by its name.
"""

import logging

from procrastinate import JobContext, RetryStrategy
from procrastinate.contrib.django import app
from procrastinate.exceptions import ConnectorException, UniqueViolation
from procrastinate.jobs import Status
from procrastinate.manager import JobManager

from keys.alerts.checks import check_keys
from keys.alerts.mail import send_mail
from keys.alerts.queue import MAIL, POST, QUEUE
from keys.alerts.webhook import post_alert
from keys.models import Alert

logger = logging.getLogger(__name__)

RETRY = RetryStrategy(max_attempts=12, exponential_wait=2)  # after 2, 4, 8 … seconds, for more than an hour


@app.task(name=MAIL, queue=QUEUE, retry=RETRY)
def mail(*, alert_id: int) -> None:
    send_mail(Alert.objects.select_related("key__owner").get(pk=alert_id))


@app.task(name=POST, queue=QUEUE, retry=RETRY)
def post(*, alert_id: int) -> None:
    post_alert(Alert.objects.select_related("key__owner").get(pk=alert_id))


@app.periodic(cron="*/10 * * * *")
@app.task(name="alerts.look", queue=QUEUE, queueing_lock="alerts.look")
def check(timestamp: int) -> None:
    check_keys()


@app.periodic(cron="* * * * *")
@app.task(name="alerts.take_up", queue=QUEUE, queueing_lock="alerts.take_up", pass_context=True)
async def retry_stalled(context: JobContext, timestamp: int) -> None:
    await retry_stalled_jobs(context.app.job_manager)


async def retry_stalled_jobs(jobs: JobManager) -> None:
    """Queue again the jobs of workers that have ended, or sent no heartbeat for 30 seconds; procrastinate itself leaves
    them as begun for ever. Raises ConnectorException if PostgreSQL is unavailable."""
    for job in await jobs.get_stalled_jobs():
        try:
            await jobs.retry_job(job)
        except UniqueViolation:
            # The same was queued again meanwhile. It would wait for ever for the lock that this job holds.
            await jobs.finish_job(job, status=Status.FAILED, delete_job=True)
            logger.info("job_dropped", extra={"job": job.id, "task": job.task_name})
        except ConnectorException as error:  # another worker did it first
            logger.info("job_not_taken_up", extra={"job": job.id, "error": type(error).__name__})
        else:
            logger.warning("job_taken_up", extra={"job": job.id, "task": job.task_name})
