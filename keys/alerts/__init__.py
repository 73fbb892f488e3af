"""What is told to whom about a key, each once an occasion, and the look around that finds most of it.

`tell` writes the row and hands its delivery to the outbox in one transaction; `keys.alerts.outbox` delivers.
"""

import datetime
import logging
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from keys.limits import monthly
from keys.models import Alert, ApiKey, KeyNetwork
from keys.models.api_keys import UNUSED

logger = logging.getLogger(__name__)

EXPIRY_DAYS = (1, 7, 14)
SHARES = (100, 80)  # of a month's limit, in per cent
MOST_NETWORKS = 100  # that are remembered, and so told, of one key


def tell(*, kind: str, key: ApiKey, occasion: str, **detail: Any) -> bool:
    """Whether this is told now; False if it was already."""
    from keys.alerts import outbox

    with transaction.atomic():
        alert, is_new = Alert.objects.get_or_create(
            key=key, kind=kind, occasion=occasion, defaults={"detail": detail}
        )
        if is_new:
            outbox.deliver(alert)
    if is_new:
        logger.warning("alert", extra={"kind": str(kind), "key_id": key.public_id, "occasion": occasion})
    return is_new


def look() -> int:
    """Tell what is due of all keys; how many alerts that were. Runs every ten minutes (`keys.alerts.outbox`)."""
    now = timezone.now()
    found = [*expiring(now), *expired(now), *unused(now), *quotas()]
    told = sum(tell(kind=kind, key=key, occasion=occasion, **detail) for kind, key, occasion, detail in found)
    return told + new_networks()


Finding = tuple[str, ApiKey, str, dict[str, Any]]


def expiring(now: datetime.datetime) -> Iterator[Finding]:
    """14, 7 and 1 days before the end; of a key that is issued for less, only what is still ahead."""
    end = now + datetime.timedelta(days=max(EXPIRY_DAYS))
    for key in ApiKey.objects.active(now=now).filter(expires_at__lte=end).select_related("owner"):
        assert key.expires_at is not None  # noqa: S101  filtered
        left = key.expires_at - now
        days = next(days for days in EXPIRY_DAYS if left <= datetime.timedelta(days=days))
        yield Alert.Kind.EXPIRING, key, f"{key.expires_at:%Y-%m-%dT%H:%M}Z {days}", {"days": days}


def expired(now: datetime.datetime) -> Iterator[Finding]:
    """Since yesterday: an older end is no news, even to a portal that has just learnt to tell."""
    since = now - datetime.timedelta(days=1)
    keys = ApiKey.objects.filter(revoked_at=None, expires_at__gt=since, expires_at__lte=now)
    for key in keys.select_related("owner"):
        yield Alert.Kind.EXPIRED, key, f"{key.expires_at:%Y-%m-%dT%H:%M}Z", {}


def unused(now: datetime.datetime) -> Iterator[Finding]:
    for key in ApiKey.objects.unused(now - UNUSED).with_owner():
        since = key.used_at or key.created_at
        yield Alert.Kind.UNUSED, key, f"{since:%Y-%m-%d}", {"since": f"{since:%Y-%m-%d}"}


def quotas() -> Iterator[Finding]:
    """At 80 and at 100 per cent of a month's calls or bytes; only the higher if both are passed at once."""
    keys = ApiKey.objects.active().exclude(monthly_requests=None, monthly_bytes=None).select_related("owner")
    by_id = {key.pk: key for key in keys}
    if not by_id:
        return
    month = f"{monthly.month_start():%Y-%m}"
    for pk, used in monthly.read_logged_months(by_id).items():
        key = by_id[pk]
        for what, count, limit in zip(
            ("requests", "bytes"), used, (key.monthly_requests, key.monthly_bytes), strict=True
        ):
            if limit and (share := next((share for share in SHARES if count * 100 >= limit * share), None)):
                detail = {"what": what, "share": share, "limit": limit}
                yield Alert.Kind.QUOTA, key, f"{month} {what} {share}", detail


def new_networks() -> int:
    """Tell of each network that a key is used from, but for its first; how many that were."""
    told = 0
    for found in KeyNetwork.objects.untold().select_related("key__owner"):
        detail: dict[str, Any] = {"network": found.network, "first_used": f"{found.at:%Y-%m-%d %H:%M} UTC"}
        with transaction.atomic():
            detail["networks"] = found.key.used_networks.filter(pk__lte=found.pk).count()
            told += tell(kind=Alert.Kind.NETWORK, key=found.key, occasion=found.network, **detail)
            KeyNetwork.objects.filter(pk=found.pk).update(is_told=True)
    return told


def recipients(alert: Alert) -> list[str]:
    """The key's owner, and ALERT_EMAILS; of a canary, which has no owner to warn, the latter alone."""
    owner = [] if alert.kind == Alert.Kind.CANARY else [alert.key.owner.email]
    return list(dict.fromkeys(address for address in [*owner, *settings.ALERT_EMAILS] if address))
