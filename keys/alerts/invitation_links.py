"""The link of an invitation, and the e-mail that brings it to its user."""

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.debug import sensitive_variables

from keys.models import User


def link_to(secret: str) -> str:
    return f"{settings.PUBLIC_URL}{reverse('invitation-link', args=[secret])}"


@sensitive_variables("link", "text")
def mail_link(user: User, link: str) -> bool:
    """Send the link to the user's address. Returns whether the mail server accepted it."""
    if not (settings.SMTP_URL and user.email):
        return False
    text = render_to_string("keys/invitation.txt", {"person": user, "link": link})
    try:
        return bool(send_mail("Your sign-in link for the Hokusai Registry", text, None, [user.email]))
    except OSError:  # the base class of smtplib's errors
        return False
