"""The outbox: what is to be delivered waits in PostgreSQL, written in the transaction that found it out.

procrastinate finds this module by its name; `manage.py alerts` works it off, and tries again what did not work.
"""

from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from keys import delivery
from keys.alert_models import Alert

QUEUE = "alerts"
# 2, 4, 8 … seconds: for an hour and more.
RETRY = RetryStrategy(max_attempts=12, exponential_wait=2)


def deliver(alert: Alert) -> None:
    """Have the alert delivered by every way that is set up, each by itself."""
    if delivery.has_mail(alert):
        mail.defer(alert_id=alert.pk)
    if delivery.has_webhook():
        post.defer(alert_id=alert.pk)


@app.task(name="alerts.mail", queue=QUEUE, retry=RETRY)
def mail(*, alert_id: int) -> None:
    delivery.mail(Alert.objects.select_related("key__owner").get(pk=alert_id))


@app.task(name="alerts.post", queue=QUEUE, retry=RETRY)
def post(*, alert_id: int) -> None:
    delivery.post(Alert.objects.select_related("key__owner").get(pk=alert_id))


@app.periodic(cron="*/10 * * * *")
@app.task(name="alerts.look", queue=QUEUE, queueing_lock="alerts.look")
def look(timestamp: int) -> None:
    from keys import alerts

    alerts.look()
