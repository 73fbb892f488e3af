"""Delivery of an alert to a webhook, as signed JSON. It arrives twice only if the response to the first was lost.

The headers are the portal's own. `standardwebhooks` was considered: it computes the same HMAC, but not these headers,
which receivers verify, so it would come in addition.
"""

import hashlib
import hmac
import json
import time
from typing import Any

from django.conf import settings
from django.utils import timezone

from keys import direct_http
from keys.alerts.wording import describe_alert
from keys.models import Alert

TIMEOUT = 10.0  # seconds


def has_webhook() -> bool:
    return bool(settings.ALERT_WEBHOOK_URL)


def post_alert(alert: Alert) -> None:
    """Raises OSError or HTTPException if the receiver does not respond with 2xx."""
    if alert.posted_at:
        return
    post_content(alert_content(alert))
    Alert.objects.filter(pk=alert.pk).update(posted_at=timezone.now())


def post_content(content: dict[str, Any]) -> None:
    """Raises OSError or HTTPException if the receiver does not respond with 2xx."""
    body = json.dumps(content).encode()
    timestamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "X-Hokusai-Timestamp": timestamp,
        "X-Hokusai-Signature": f"sha256={sign(settings.ALERT_WEBHOOK_SECRET, timestamp, body)}",
    }
    direct_http.post(
        settings.ALERT_WEBHOOK_URL,
        body,
        headers,
        timeout=TIMEOUT,
        allow_private=settings.ALERT_WEBHOOK_ALLOW_PRIVATE,
    )


def alert_content(alert: Alert) -> dict[str, Any]:
    subject, advice = describe_alert(alert)
    key = alert.key
    return {
        "id": f"alert_{alert.pk}",
        "kind": alert.kind,
        "at": alert.at.isoformat(),
        "text": subject,
        "advice": advice,
        "key": {"id": key.public_id, "name": key.name, "masked": key.masked} if key else None,
        "user": {"id": key.owner.public_id, "name": key.owner.username} if key else None,
        "detail": alert.detail,
    }


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """HMAC-SHA-256 of `<timestamp>.<body>`, in hexadecimal: receivers compare it and refuse old timestamps."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
