"""Who was notified of an alert, when and how; and whether alerts can be delivered at all."""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.db.models import BigIntegerField, Max
from django.db.models.fields.json import KT
from django.db.models.functions import Cast
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob, ProcrastinateWorker

from keys.alerts.queue import MAIL, POST
from keys.models import Alert

SILENT = datetime.timedelta(
    seconds=60
)  # since its last heartbeat, after which the delivery counts as stopped


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """An alert on one channel. `state`: delivered, waiting, given up or not sent."""

    channel: str
    state: str
    at: datetime.datetime | None = None
    to: tuple[str, ...] = ()


def deliveries(alerts: Iterable[Alert]) -> dict[int, list[Delivery]]:
    """The deliveries of each alert, by its id. One query."""
    alerts = list(alerts)
    jobs = ProcrastinateJob.objects.filter(task_name__in=(MAIL, POST)).annotate(
        alert=Cast(KT("args__alert_id"), BigIntegerField())
    )
    rows = jobs.filter(alert__in=[alert.pk for alert in alerts]).values_list("alert", "task_name", "status")
    queued = {(alert, task): status for alert, task, status in rows}
    return {
        alert.pk: [
            one("mail", alert.mailed_at, queued.get((alert.pk, MAIL)), tuple(alert.mailed_to)),
            one("webhook", alert.posted_at, queued.get((alert.pk, POST))),
        ]
        for alert in alerts
    }


def one(channel: str, at: datetime.datetime | None, job: str | None, to: tuple[str, ...] = ()) -> Delivery:
    state = "delivered" if at else {None: "not sent", "failed": "given up"}.get(job, "waiting")
    return Delivery(channel=channel, state=state, at=at, to=to)


@dataclass(frozen=True, kw_only=True)
class Channel:
    """A way by which alerts are sent, and whether it is set up, in words."""

    name: str
    is_set_up: bool
    text: str


def channels() -> list[Channel]:
    return [mail_channel(), webhook_channel(), delivery_process()]


def mail_channel() -> Channel:
    if not settings.SMTP_URL:
        return Channel(name="Mail", is_set_up=False, text="No mail is sent: set SMTP_URL.")
    count = len(settings.ALERT_EMAILS)
    also = (
        f"and {count} address{'' if count == 1 else 'es'} in ALERT_EMAILS"
        if count
        else "; ALERT_EMAILS is empty"
    )
    text = f"Through {settings.SMTP_URL['EMAIL_HOST']}, to the key's owner{' ' if count else ''}{also}."
    return Channel(name="Mail", is_set_up=True, text=text)


def webhook_channel() -> Channel:
    if not settings.ALERT_WEBHOOK_URL:
        return Channel(name="Webhook", is_set_up=False, text="None: set ALERT_WEBHOOK_URL.")
    host = urlsplit(settings.ALERT_WEBHOOK_URL).hostname
    return Channel(name="Webhook", is_set_up=True, text=f"Signed JSON to {host}.")


def delivery_process() -> Channel:
    """Whether `manage.py alerts` runs, by the heartbeat of its worker."""
    last = ProcrastinateWorker.objects.aggregate(last=Max("last_heartbeat"))["last"]
    is_running = last is not None and last > timezone.now() - SILENT
    text = "Alerts are delivered, and keys are checked every ten minutes."
    if not is_running:
        text = "Nothing delivers alerts or checks keys: run “manage.py alerts” beside the portal."
    return Channel(name="Delivery", is_set_up=is_running, text=text)
