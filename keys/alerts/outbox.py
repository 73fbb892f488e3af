"""The outbox: what is to be delivered waits in PostgreSQL, written in the transaction that found it out.

procrastinate finds this module by its name; `manage.py alerts` works it off, and tries again what did not work.
"""

import logging
from dataclasses import dataclass

from django.db.models import BigIntegerField, Min
from django.db.models.fields.json import KT
from django.db.models.functions import Cast
from django.utils import timezone
from procrastinate import JobContext, RetryStrategy
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob
from procrastinate.exceptions import ConnectorException
from procrastinate.manager import JobManager

from keys.alerts import delivery
from keys.models import Alert

logger = logging.getLogger(__name__)

QUEUE = "alerts"
# 2, 4, 8 … seconds: for an hour and more.
RETRY = RetryStrategy(max_attempts=12, exponential_wait=2)
DELIVERIES = ("alerts.mail", "alerts.post")


def deliver(alert: Alert) -> None:
    """Have the alert delivered by every way that is set up, each by itself."""
    if delivery.has_mail(alert):
        mail.defer(alert_id=alert.pk)
    if delivery.has_webhook():
        post.defer(alert_id=alert.pk)


@app.task(name=DELIVERIES[0], queue=QUEUE, retry=RETRY)
def mail(*, alert_id: int) -> None:
    delivery.mail(Alert.objects.select_related("key__owner").get(pk=alert_id))


@app.task(name=DELIVERIES[1], queue=QUEUE, retry=RETRY)
def post(*, alert_id: int) -> None:
    delivery.post(Alert.objects.select_related("key__owner").get(pk=alert_id))


@app.periodic(cron="*/10 * * * *")
@app.task(name="alerts.look", queue=QUEUE, queueing_lock="alerts.look")
def look(timestamp: int) -> None:
    from keys import alerts

    alerts.look()


@app.periodic(cron="* * * * *")
@app.task(name="alerts.take_up", queue=QUEUE, queueing_lock="alerts.take_up", pass_context=True)
async def take_up(context: JobContext, timestamp: int) -> None:
    await take_up_stalled(context.app.job_manager)


async def take_up_stalled(jobs: JobManager) -> None:
    """Put back what a process had begun that is gone, or has not been heard of for 30 seconds: procrastinate
    itself leaves such a job as begun for ever. Raises ConnectorException if PostgreSQL is away."""
    for job in await jobs.get_stalled_jobs(queue=QUEUE):
        try:
            await jobs.retry_job(job)
        except ConnectorException as error:
            # Another process was faster, or another job holds the queueing lock: there is a next time.
            logger.info("job_not_taken_up", extra={"job": job.id, "error": type(error).__name__})
        else:
            logger.warning("job_taken_up", extra={"job": job.id, "task": job.task_name})


@dataclass(frozen=True, kw_only=True)
class State:
    """How the outbox does: seconds since the oldest undelivered alert was found out, 0 if there is none, and how
    many deliveries were given up."""

    oldest_seconds: float
    failed: int


def state() -> State:
    jobs = ProcrastinateJob.objects.filter(task_name__in=DELIVERIES)
    waiting = jobs.filter(status__in=("todo", "doing")).values(
        alert=Cast(KT("args__alert_id"), BigIntegerField())
    )
    oldest = Alert.objects.filter(pk__in=waiting).aggregate(at=Min("at"))["at"]
    seconds = (timezone.now() - oldest).total_seconds() if oldest else 0.0
    return State(oldest_seconds=round(max(0.0, seconds), 1), failed=jobs.filter(status="failed").count())
