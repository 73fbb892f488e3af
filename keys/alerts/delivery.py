"""An alert on its way: in words by mail, as signed JSON to a webhook. Delivered twice only if the answer was lost."""

import hashlib
import hmac
import json
import time
import urllib.request
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.utils import timezone

from keys.models import Alert

TIMEOUT = 10.0  # seconds
TEXTS = {
    Alert.Kind.LEAKED: (
        "was found in the open",
        "Somebody reported that they found it{where}. It was paused at once: calls with it are refused. Issue another "
        "one, put it where this one was used, and revoke this one.",
    ),
    Alert.Kind.CANARY: (
        "is a canary, and was used",
        "It was used from {address}. Nobody has a reason to: whoever did has read the place where it was laid out.",
    ),
    Alert.Kind.EXPIRING: (
        "expires in {days} days or less",
        "It expires on {expires} UTC. Issue another one in time, or ask for this one to be prolonged.",
    ),
    Alert.Kind.EXPIRED: (
        "has expired",
        "It expired on {expires} UTC. Calls with it are refused, but for finishing runs that it began.",
    ),
    Alert.Kind.QUOTA: (
        "has used {share} % of its monthly {what}",
        "Its limit is {limit} {what} a calendar month (UTC). When it is used up, calls are refused until the next.",
    ),
    Alert.Kind.UNUSED: (
        "has not been used for 90 days",
        "It was not used since {since}. If nobody needs it, revoke it.",
    ),
    Alert.Kind.NETWORK: (
        "was used from a new network",
        "It was first used from {network} on {first_used}. If that was none of yours, have it paused and issue another "
        "one; if you know all networks that it is used from, have it limited to them.{more}",
    ),
}
OLD_SECRET = (
    "had its old secret found in the open",
    "Somebody reported that they found it{where}. It is the one from before the last rotation, which has ended: calls "
    "with it are refused, and the key goes on. Look where it was left, and whether the new one lies there too.",
)
MANY_NETWORKS = " It is used from so many networks that you will not be told of further ones."


def has_mail(alert: Alert) -> bool:
    from keys import alerts

    return bool(settings.SMTP_URL and alerts.recipients(alert))


def has_webhook() -> bool:
    return bool(settings.ALERT_WEBHOOK_URL)


def words(alert: Alert) -> tuple[str, str]:
    """What happened, for a subject, and what to do."""
    from keys import alerts

    what, advice = OLD_SECRET if alert.detail.get("is_old") else TEXTS[Alert.Kind(alert.kind)]
    expires = alert.key.expires_at
    given = {
        "where": f" at {alert.detail['where']}" if alert.detail.get("where") else "",
        "expires": f"{expires:%Y-%m-%d %H:%M}" if expires else "",
        "address": alert.detail.get("address") or "an unknown address",
        "more": MANY_NETWORKS if alert.detail.get("networks", 0) >= alerts.MOST_NETWORKS else "",
    }
    values = {**alert.detail, **given}
    return f"The API key “{alert.key.name}” {what.format(**values)}", advice.format(**values)


def mail(alert: Alert) -> None:
    """Raises OSError or SMTPException if the server does not take it."""
    from keys import alerts

    if alert.mailed_at:
        return
    subject, advice = words(alert)
    key = alert.key
    body = (
        f"{subject}.\n\n{advice}\n\n"
        f"Key: {key.public_id} ({key.masked})\nOwner: {key.owner.username}\n"
        f"Noticed: {alert.at:%Y-%m-%d %H:%M} UTC\nRegistry: {settings.PUBLIC_URL}\n"
    )
    EmailMessage(" ".join(subject.split()), body, to=alerts.recipients(alert)).send()
    Alert.objects.filter(pk=alert.pk).update(mailed_at=timezone.now())


def post(alert: Alert) -> None:
    """Raises OSError (HTTPError among them) if the receiver does not answer with 2xx."""
    if alert.posted_at:
        return
    body = json.dumps(content(alert)).encode()
    stamp = str(int(time.time()))
    request = urllib.request.Request(  # noqa: S310  the setting is http or https
        settings.ALERT_WEBHOOK_URL,
        data=body,
        headers={
            "Content-Type": "application/json",
            "X-Hokusai-Timestamp": stamp,
            "X-Hokusai-Signature": f"sha256={signature(settings.ALERT_WEBHOOK_SECRET, stamp, body)}",
        },
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT):  # noqa: S310
        Alert.objects.filter(pk=alert.pk).update(posted_at=timezone.now())


def content(alert: Alert) -> dict[str, Any]:
    subject, advice = words(alert)
    key = alert.key
    return {
        "id": f"alert_{alert.pk}",
        "kind": alert.kind,
        "at": alert.at.isoformat(),
        "text": subject,
        "advice": advice,
        "key": {"id": key.public_id, "name": key.name, "masked": key.masked},
        "user": {"id": key.owner.public_id, "name": key.owner.username},
        "detail": alert.detail,
    }


def signature(secret: str, stamp: str, body: bytes) -> str:
    """HMAC-SHA-256 of `<stamp>.<body>`, in hexadecimal: a receiver compares it and refuses an old stamp."""
    return hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
