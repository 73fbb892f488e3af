"""Messages between holders and administrators about keys: a key to collect, a request, a decision. None has a secret.
They are mailed if mail is configured; the pages show the same."""

import datetime
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.debug import sensitive_variables

from keys.actions import invitations
from keys.actions.actor import Actor
from keys.actions.grants import can_invite
from keys.actions.history import log
from keys.alerts.invitation_links import link_to
from keys.models import ApiKey, KeyRequest, PreparedKey, User


@dataclass(frozen=True, kw_only=True)
class Message:
    """`link`: an invitation's if the holder has no way to sign in yet, else the key's own. `is_blocked`: the holder has
    none, and the actor may not invite them. `expires_at`: when the link ends; None: it stays."""

    link: str = field(repr=False)
    text: str = field(repr=False)
    is_mailed: bool
    is_blocked: bool
    expires_at: datetime.datetime | None

    def serialize(self) -> dict[str, Any]:
        """As the API and the commands show it."""
        return {"link": self.link, "message": self.text, "is_mailed": self.is_mailed}


@sensitive_variables("secret", "link", "text")
def write_message(prepared: PreparedKey, secret: str, *, actor: Actor) -> Message:
    """The message for the key's holder, and its mail, in the language of the page. Makes an invitation if the
    holder needs one to sign in."""
    return write_to(
        prepared.owner,
        gettext("Your API key for the Hokusai Registry is ready"),
        "keys/key_ready.txt",
        link=collect_link(secret),
        expires_at=prepared.expires_at,
        actor=actor,
        prepared=prepared,
    )


@sensitive_variables("link", "text")
def write_rotation_message(key: ApiKey, *, actor: Actor) -> Message:
    """The message for the holder of a leaked key that the actor rotated: the holder makes the secret that works, and
    alone sees it."""
    page = f"{settings.PUBLIC_URL}{reverse('account-rotate', args=[key.public_id])}"
    subject = "Your API key for the Hokusai Registry needs a new secret"
    return write_to(
        key.owner,
        subject,
        "keys/key_rotated.txt",
        link=page,
        expires_at=None,
        actor=actor,
        key=key,
        page=page,
    )


@sensitive_variables("link", "text")
def write_to(
    holder: User,
    subject: str,
    template: str,
    *,
    link: str,
    expires_at: datetime.datetime | None,
    actor: Actor,
    **context: Any,
) -> Message:
    """A message and its mail. Its link is an invitation's if the holder needs one to sign in."""
    needs_invitation = not holder.can_sign_in
    is_invited = needs_invitation and can_invite(actor.user, holder)
    if is_invited:
        invitation, invitation_secret = invitations.invite(user=holder, actor=actor)
        log(holder, "Sign-in link made.", actor=actor)
        link = link_to(invitation_secret)
        expires_at = min(expires_at or invitation.expires_at, invitation.expires_at)
    context |= {"person": holder, "link": link, "is_invited": is_invited, "expires_at": expires_at}
    text = render_to_string(template, context).strip()
    return Message(
        link=link,
        text=text,
        is_mailed=mail_text(holder, subject, text),
        is_blocked=needs_invitation and not is_invited,
        expires_at=expires_at,
    )


def notify_administrators(request: KeyRequest) -> bool:
    """Mail a new request to ALERT_EMAILS. Returns whether the mail server accepted it."""
    what = request.words
    page = f"{settings.PUBLIC_URL}{reverse('admin:keys_apikey_request', args=[request.pk])}"
    why = f"\nReason: {request.note}" if request.note else ""
    text = f"{request.user.username} requests: {what}.{why}\n\nApprove or decline it:\n\n{page}"
    return mail_to(settings.ALERT_EMAILS, f"Request of {request.user.username}: {what}", text)


def notify_holder(request: KeyRequest) -> bool:
    """Mail the decision to the holder. The approval of a new key is in the text of `write_message` instead."""
    what = request.words
    reason = f"\n\nReason: {request.reason}" if request.reason else ""
    page = f"{settings.PUBLIC_URL}{reverse('account')}"
    text = f"Hello {request.user.username},\n\nyour request was {request.state}: {what}.{reason}\n\n{page}"
    return mail_text(request.user, f"Your request was {request.state}", text)


def collect_link(secret: str) -> str:
    return f"{settings.PUBLIC_URL}{reverse('account-collect-link', args=[secret])}"


@sensitive_variables("text")
def mail_text(user: User, subject: str, text: str) -> bool:
    """Send a text to the user's address. Returns whether the mail server accepted it."""
    return mail_to([user.email] if user.email else [], subject, text)


@sensitive_variables("text")
def mail_to(addresses: list[str], subject: str, text: str) -> bool:
    if not (settings.SMTP_URL and addresses):
        return False
    try:
        return bool(send_mail(" ".join(subject.split()), f"{text}\n", None, addresses))
    except OSError:  # the base class of smtplib's errors
        return False
