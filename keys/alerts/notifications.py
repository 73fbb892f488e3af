"""Write an alert and queue its delivery in one transaction, once for each occasion."""

import logging
from typing import Any

from django.db import transaction

from keys.alerts.queue import queue_delivery
from keys.models import Alert, ApiKey

logger = logging.getLogger(__name__)


def notify(*, kind: str, key: ApiKey, occasion: str, **detail: Any) -> bool:
    """Returns False if there is an alert for this occasion already."""
    with transaction.atomic():
        alert, is_new = Alert.objects.get_or_create(
            key=key, kind=kind, occasion=occasion, defaults={"detail": detail}
        )
        if is_new:
            queue_delivery(alert)
    if is_new:
        logger.warning("alert", extra={"kind": str(kind), "key_id": key.public_id, "occasion": occasion})
    return is_new
