"""Who gets an alert by mail."""

from django.conf import settings

from keys.models import Alert, Membership


def recipients(alert: Alert) -> list[str]:
    """The key's owner, or the owners of the organisation, and ALERT_EMAILS; for a canary, which has no owner to
    warn, and for a disk only the latter."""
    owners = [alert.key.owner.email] if alert.key and alert.kind != Alert.Kind.CANARY else []
    if alert.kind == Alert.Kind.ORGANISATION:
        memberships = Membership.objects.filter(
            organisation__slug=alert.detail["organisation"], role=Membership.Role.OWNER, user__is_active=True
        )
        owners += memberships.values_list("user__email", flat=True)
    return list(dict.fromkeys(address for address in [*owners, *settings.ALERT_EMAILS] if address))
