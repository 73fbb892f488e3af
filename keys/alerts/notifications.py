"""Write an alert and queue its delivery in one transaction, once for each occasion."""

import logging
from typing import Any

from django.db import transaction
from django.utils import timezone

from keys.alerts.queue import queue_delivery
from keys.models import Alert, ApiKey

logger = logging.getLogger(__name__)


def notify(*, kind: str, key: ApiKey | None, occasion: str, **detail: Any) -> bool:
    """Returns False if there is an alert for this occasion already. An alert without a key is another one after
    `end_alert`."""
    with transaction.atomic():
        alert, is_new = Alert.objects.get_or_create(
            key=key, kind=kind, occasion=occasion, ended_at=None, defaults={"detail": detail}
        )
        if is_new:
            queue_delivery(alert)
    if is_new:
        key_id = key.public_id if key else ""
        logger.warning("alert", extra={"kind": str(kind), "key_id": key_id, "occasion": occasion})
    return is_new


def end_alert(*, kind: str, occasion: str) -> None:
    """End the alert without a key, if there is one: what it reports is over."""
    if Alert.objects.filter(key=None, kind=kind, occasion=occasion, ended_at=None).update(
        ended_at=timezone.now()
    ):
        logger.info("alert_ended", extra={"kind": str(kind), "occasion": occasion})
