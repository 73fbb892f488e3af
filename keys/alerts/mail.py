"""Delivery of an alert by mail."""

from django.conf import settings
from django.core.mail import EmailMessage
from django.utils import timezone

from keys.alerts.recipients import recipients
from keys.alerts.wording import describe_alert
from keys.models import Alert


def has_mail(alert: Alert) -> bool:
    return bool(settings.SMTP_URL and recipients(alert))


def send_mail(alert: Alert) -> None:
    """Raises OSError or SMTPException if the mail server does not accept the mail."""
    if alert.mailed_at:
        return
    subject, advice = describe_alert(alert)
    key = alert.key
    about = f"Key: {key.public_id} ({key.masked})\nOwner: {key.owner.username}\n" if key else ""
    body = (
        f"{subject}.\n\n{advice}\n\n{about}"
        f"Noticed: {alert.at:%Y-%m-%d %H:%M} UTC\nRegistry: {settings.PUBLIC_URL}\n"
    )
    addresses = recipients(alert)
    EmailMessage(" ".join(subject.split()), body, to=addresses).send()
    Alert.objects.filter(pk=alert.pk).update(mailed_at=timezone.now(), mailed_to=addresses)
