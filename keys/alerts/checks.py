"""The checks that find what holders and administrators should know about keys."""

import datetime
from collections.abc import Iterator
from typing import Any

from django.db import transaction
from django.utils import timezone

from keys.alerts.notifications import notify
from keys.limits import month_limits
from keys.limits.month_limits import Limited
from keys.models import Alert, ApiKey, KeyNetwork, Organisation
from keys.models.api_keys import EXPIRES_SOON, UNUSED

EXPIRY_DAYS = (1, 7, EXPIRES_SOON.days)
SHARES = (100, 80)  # of a monthly limit, in per cent

Finding = tuple[str, ApiKey | None, str, dict[str, Any]]  # kind, key, occasion, detail


def check_keys() -> int:
    """Write the alerts that are due. Returns how many are new. Runs every ten minutes (`keys.alerts.outbox`)."""
    now = timezone.now()
    findings = [*find_expiring(now), *find_expired(now), *find_unused(now), *quotas(), *organisation_quotas()]
    new = sum(
        notify(kind=kind, key=key, occasion=occasion, **detail) for kind, key, occasion, detail in findings
    )
    return new + notify_new_networks()


def find_expiring(now: datetime.datetime) -> Iterator[Finding]:
    """14, 7 and 1 days before the expiry; for a key with a shorter life, only the days still ahead."""
    for key in ApiKey.objects.expiring_soon(now=now).with_owner():
        assert key.expires_at is not None  # noqa: S101  filtered
        left = key.expires_at - now
        days = next(days for days in EXPIRY_DAYS if left <= datetime.timedelta(days=days))
        yield Alert.Kind.EXPIRING, key, f"{key.expires_at:%Y-%m-%dT%H:%M}Z {days}", {"days": days}


def find_expired(now: datetime.datetime) -> Iterator[Finding]:
    """Only keys that expired within a day, so that a portal with newly configured alerts does not report old ones."""
    since = now - datetime.timedelta(days=1)
    keys = ApiKey.objects.filter(revoked_at=None, expires_at__gt=since, expires_at__lte=now)
    for key in keys.select_related("owner"):
        yield Alert.Kind.EXPIRED, key, f"{key.expires_at:%Y-%m-%dT%H:%M}Z", {}


def find_unused(now: datetime.datetime) -> Iterator[Finding]:
    for key in ApiKey.objects.unused(now - UNUSED).with_owner():
        since = key.used_at or key.created_at
        yield Alert.Kind.UNUSED, key, f"{since:%Y-%m-%d}", {"since": f"{since:%Y-%m-%d}"}


def quotas() -> Iterator[Finding]:
    """At 80 and at 100 per cent of a monthly limit; only the higher one if both are passed at once."""
    keys = month_limits.with_limits(ApiKey.objects.active()).select_related("owner")
    by_id = {key.pk: key for key in keys}
    if not by_id:
        return
    for pk, used in month_limits.read_logged_months(by_id).items():
        for occasion, detail in used_shares(by_id[pk], used):
            yield Alert.Kind.QUOTA, by_id[pk], occasion, detail


def organisation_quotas() -> Iterator[Finding]:
    """The same for the limits of organisations."""
    limited = Organisation.objects.open().exclude(monthly_requests=None, monthly_bytes=None)
    by_id = {organisation.pk: organisation for organisation in limited}
    logged = month_limits.read_logged_months(by_id, Organisation) if by_id else {}
    for pk, used in logged.items():
        for occasion, detail in used_shares(by_id[pk], used):
            slug = by_id[pk].slug
            yield Alert.Kind.ORGANISATION, None, f"{slug} {occasion}", {"organisation": slug, **detail}


def used_shares(limited: Limited, used: tuple[int, int]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The occasion and the detail of each monthly limit that is used to one of SHARES."""
    month = f"{month_limits.month_start():%Y-%m}"
    highest = (limited.monthly_requests, month_limits.bytes_limit(limited))
    for what, count, limit in zip(("requests", "bytes"), used, highest, strict=True):
        if limit and (share := next((share for share in SHARES if count * 100 >= limit * share), None)):
            yield f"{month} {what} {share}", {"what": what, "share": share, "limit": limit}


def notify_new_networks() -> int:
    """Write an alert for each new network of a key, except its first. Returns how many are new."""
    new = 0
    for key_network in KeyNetwork.objects.without_alert().select_related("key__owner"):
        detail: dict[str, Any] = {
            "network": key_network.network,
            "first_used": f"{key_network.at:%Y-%m-%d %H:%M} UTC",
        }
        with transaction.atomic():
            detail["networks"] = key_network.key.used_networks.filter(pk__lte=key_network.pk).count()
            new += notify(
                kind=Alert.Kind.NETWORK, key=key_network.key, occasion=key_network.network, **detail
            )
            KeyNetwork.objects.filter(pk=key_network.pk).update(is_told=True)
    return new
