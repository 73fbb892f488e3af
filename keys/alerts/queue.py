"""The queue of deliveries in PostgreSQL, filled in the transaction that writes the alert, and its state."""

from dataclasses import dataclass

from django.db.models import BigIntegerField, Min
from django.db.models.fields.json import KT
from django.db.models.functions import Cast
from django.utils import timezone
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob

from keys.alerts import mail, webhook
from keys.models import Alert

QUEUE = "alerts"
MAIL, POST = "alerts.mail", "alerts.post"  # tasks in `keys.alerts.outbox`


def queue_delivery(alert: Alert) -> None:
    """Queue the alert for each channel that is set up. The channels are retried independently."""
    if mail.has_mail(alert):
        app.configure_task(MAIL, queue=QUEUE).defer(alert_id=alert.pk)
    if webhook.has_webhook():
        app.configure_task(POST, queue=QUEUE).defer(alert_id=alert.pk)


@dataclass(frozen=True, kw_only=True)
class QueueState:
    """`oldest_seconds`: since the oldest undelivered alert was written, 0 if there is none. `failed`: deliveries that
    were given up."""

    oldest_seconds: float
    failed: int


def queue_state() -> QueueState:
    jobs = ProcrastinateJob.objects.filter(task_name__in=(MAIL, POST))
    waiting = jobs.filter(status__in=("todo", "doing")).values(
        alert=Cast(KT("args__alert_id"), BigIntegerField())
    )
    oldest = Alert.objects.filter(pk__in=waiting).aggregate(at=Min("at"))["at"]
    seconds = (timezone.now() - oldest).total_seconds() if oldest else 0.0
    return QueueState(oldest_seconds=round(max(0.0, seconds), 1), failed=jobs.filter(status="failed").count())
