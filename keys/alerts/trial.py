"""A test alert, sent at once and not through the outbox, so that the sender sees whether each channel works."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException

from django.conf import settings
from django.core.mail import EmailMessage
from django.utils import timezone

from keys.actions.actor import Actor
from keys.actions.history import log
from keys.alerts import webhook

SUBJECT = "Test alert of the Hokusai Registry"
ADVICE = "Somebody sent it to check that alerts arrive. No key is concerned, and nobody needs to act."


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """What became of the test alert on one channel: sent, failed or "not set up"."""

    channel: str
    result: str
    text: str


def send_test_alert(*, actor: Actor) -> list[TestResult]:
    """Send a test alert by mail, to the actor and ALERT_EMAILS, and to the webhook. Waits for both: seconds at most."""
    results = [by_mail(actor), by_webhook(actor)]
    if actor.user:
        found = ", ".join(f"{result.channel} {result.result}" for result in results)
        log(actor.user, f"Sent a test alert: {found}.", actor=actor)
    return results


def by_mail(actor: Actor) -> TestResult:
    own = actor.user.email if actor.user else ""
    addresses = list(dict.fromkeys(filter(None, [own, *settings.ALERT_EMAILS])))
    if not settings.SMTP_URL:
        return TestResult(channel="mail", result="not set up", text="SMTP_URL is not set.")
    if not addresses:
        text = "There is nobody to send it to: ALERT_EMAILS is empty, and you have no e-mail address."
        return TestResult(channel="mail", result="not set up", text=text)
    who = actor.user.username if actor.user else "a command"
    body = f"{SUBJECT}.\n\n{ADVICE}\n\nSent by: {who}\nRegistry: {settings.PUBLIC_URL}\n"
    message = EmailMessage(SUBJECT, body, to=addresses)
    return attempt("mail", message.send, f"The mail server accepted it for {', '.join(addresses)}.")


def by_webhook(actor: Actor) -> TestResult:
    if not webhook.has_webhook():
        return TestResult(channel="webhook", result="not set up", text="ALERT_WEBHOOK_URL is not set.")
    content = {
        "id": f"test_{secrets.token_hex(8)}",
        "kind": "test",
        "at": timezone.now().isoformat(),
        "text": SUBJECT,
        "advice": ADVICE,
        "key": None,
        "user": None,
        "detail": {"sent_by": actor.user.username if actor.user else ""},
    }
    return attempt("webhook", lambda: webhook.post_content(content), "The receiver confirmed it.")


def attempt(channel: str, send: Callable[[], object], success: str) -> TestResult:
    try:
        send()
    except (OSError, HTTPException, ValueError) as error:  # smtplib's errors are OSErrors
        text = f"{type(error).__name__}: {str(error)[:300]}"
        return TestResult(channel=channel, result="failed", text=text)
    return TestResult(channel=channel, result="sent", text=success)
