"""The use of a canary: a key placed where only an intruder finds it. It gives no access, and its use raises an alert.

`keys.credentials.authentication` calls `record_use` as a listener, and then refuses the canary like an unknown key.
"""

import logging
from typing import Any

from django.db import transaction
from django.utils import timezone

from keys.actions import record_event
from keys.actions.actor import Actor, Via
from keys.alerts.leaks import one_line
from keys.alerts.notifications import notify
from keys.credentials.addresses import network_of
from keys.database import DATABASE_ERRORS
from keys.models import Alert, ApiKey, KeyEvent

logger = logging.getLogger(__name__)

MAX_ALERTS = 10  # of one canary in an hour, each for another network


def record_use(key: ApiKey, *, address: str, client: str) -> None:
    """Write an event and an alert, once an hour for each network, and one for all networks after MAX_ALERTS. Database
    errors are only logged, so that the caller does not notice."""
    actor = Actor(user=None, address=address or None, via=Via.PORTAL)
    hour = f"{timezone.now():%Y-%m-%dT%H}"
    occasion = f"{network_of(address)} {hour}"
    recent = Alert.objects.filter(key=key, kind=Alert.Kind.CANARY, occasion__endswith=hour)
    try:
        with transaction.atomic():
            is_one_more = recent.count() >= MAX_ALERTS and not recent.filter(occasion=occasion).exists()
            detail: dict[str, Any] = {"address": address}
            if is_one_more:
                occasion, detail = f"further {hour}", {"address": "many networks", "calls": 0}
            if notify(kind=Alert.Kind.CANARY, key=key, occasion=occasion, **detail):
                client = one_line(client, 100)
                record_event(key, KeyEvent.Kind.CANARY, actor=actor, client=client)
            if is_one_more:
                alert = recent.select_for_update().get(occasion=occasion)
                alert.detail["calls"] += 1
                alert.save(update_fields=["detail"])
    except DATABASE_ERRORS:
        logger.exception("canary_not_written_down", extra={"key_id": key.public_id})
