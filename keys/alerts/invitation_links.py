"""The link of an invitation, and the e-mail that brings it to its user."""

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.debug import sensitive_variables

from keys.models import MemberInvitation, User


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


@sensitive_variables("secret", "link", "text")
def mail_membership(invitation: MemberInvitation, secret: str) -> tuple[str, bool]:
    """Mail an invitation into an organisation to the user's address. `secret`: of a sign-in link, for a user who has no
    way to sign in yet. Returns the link in the mail, and whether the mail server accepted it."""
    user = invitation.user
    link = link_to(secret) if secret else f"{settings.PUBLIC_URL}{reverse('account')}"
    if not (settings.SMTP_URL and user.email):
        return link, False
    text = render_to_string("keys/member_invitation.txt", {"invitation": invitation, "link": link})
    subject = gettext("You are invited to %(organisation)s in the Hokusai Registry")
    subject %= {"organisation": invitation.organisation.name}
    try:
        return link, bool(send_mail(" ".join(subject.split()), text, None, [user.email]))
    except OSError:  # the base class of smtplib's errors
        return link, False
