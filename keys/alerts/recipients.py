"""Who gets an alert by mail."""

from django.conf import settings

from keys.models import Alert


def recipients(alert: Alert) -> list[str]:
    """The key's owner and ALERT_EMAILS; for a canary, which has no owner to warn, only the latter."""
    owner = [] if alert.kind == Alert.Kind.CANARY else [alert.key.owner.email]
    return list(dict.fromkeys(address for address in [*owner, *settings.ALERT_EMAILS] if address))
