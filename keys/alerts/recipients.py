"""Who gets an alert by mail."""

from django.conf import settings

from keys.models import Alert


def recipients(alert: Alert) -> list[str]:
    """The key's owner and ALERT_EMAILS; for a canary, which has no owner to warn, and for a disk only the latter."""
    owner = [alert.key.owner.email] if alert.key and alert.kind != Alert.Kind.CANARY else []
    return list(dict.fromkeys(address for address in [*owner, *settings.ALERT_EMAILS] if address))
