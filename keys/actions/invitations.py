"""Actions on invitations: create, accept, withdraw. Only a user's newest link works, once, within a week."""

import datetime
import hashlib

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils import timezone

from keys.actions import grants
from keys.actions.actor import COMMAND, Actor
from keys.actions.errors import ActionError
from keys.formatting.base62 import random_base62
from keys.models import Invitation, User

LIFETIME = datetime.timedelta(days=7)
PREFIX = "hki_"
LENGTH = 40  # random base62 characters: 238 bits, so that a plain SHA-256 is enough
END_REASONS = {
    "unknown": "This link is not valid. Copy the whole link again, or ask for a new one.",
    "accepted": "This link has already been used. Sign in with the password that was set, or ask for a new link.",
    "withdrawn": "This link was withdrawn or replaced by a newer one. Use the newest link, or ask for another.",
    "expired": "This link has expired: links work for seven days. Ask for a new one.",
    "rights": "This user has been given rights since this link was created: only a superuser's link can set their "
    "password now. Ask a superuser for a new link.",
    "deactivated": "This user is deactivated. Ask your administrator.",
}


@transaction.atomic
def add_user(*, name: str, email: str = "") -> User:
    """Add a user without a password, who can own keys. Raises ActionError for an invalid or used name or address."""
    user = User(username=name.strip(), email=email.strip())
    user.set_unusable_password()
    try:
        if user.email:
            validate_email(user.email)
        user.full_clean(exclude=["password"])
    except ValidationError as error:
        raise ActionError(" ".join(error.messages)) from None
    if User.objects.filter(username__iexact=user.username).exists():
        raise ActionError(f"the user “{user.username}” already exists")
    if user.email and User.objects.filter(email__iexact=user.email).exists():
        raise ActionError("another user has this e-mail address")
    user.save()
    return user


@transaction.atomic
def invite(*, user: User, actor: Actor = COMMAND) -> tuple[Invitation, str]:
    """Create a new link for `user`; returns it with its secret, which is not stored. Older links stop working."""
    grants.check_owner(user.pk, actor)
    user = User.objects.select_for_update().get(pk=user.pk)
    if user.is_service:
        raise ActionError("a service user has no password, and cannot sign in")
    if not user.is_active:
        raise ActionError("the user is deactivated; reactivate them first")
    withdraw(user=user, actor=actor)
    secret = new_link_secret(PREFIX)
    invitation = Invitation.objects.create(
        user=user, digest=digest(secret), created_by=actor.user, expires_at=timezone.now() + LIFETIME
    )
    return invitation, secret


def withdraw(*, user: User, actor: Actor = COMMAND) -> bool:
    """End the user's open link. Returns whether there was one."""
    grants.check_owner(user.pk, actor)
    open_links = user.invitations.filter(accepted_at=None, withdrawn_at=None)
    return bool(open_links.update(withdrawn_at=timezone.now()))


@transaction.atomic
def accept(*, invitation: Invitation, password: str, address: str | None = None) -> User:
    """Set the password; the link stops working. Raises ActionError if it has stopped working before, as on a second
    click."""
    invitation = Invitation.objects.select_for_update().get(pk=invitation.pk)
    if reason := end_reason(invitation):
        raise ActionError(END_REASONS[reason])
    user = User.objects.select_for_update().get(pk=invitation.user_id)
    user.set_password(password)
    user.save(update_fields=["password"])
    invitation.accepted_at, invitation.accepted_address = timezone.now(), address
    invitation.save(update_fields=["accepted_at", "accepted_address"])
    return user


def end_reason(invitation: Invitation | None) -> str:
    """Why the link no longer works, as a key of END_REASONS; "" if it works."""
    if invitation is None:
        return "unknown"
    if invitation.accepted_at:
        return "accepted"
    if invitation.withdrawn_at:
        return "withdrawn"
    if invitation.expires_at <= timezone.now():
        return "expired"
    if not invitation.user.is_active:
        return "deactivated"
    issuer = invitation.created_by  # None: the command line
    return "rights" if issuer and not issuer.is_superuser and invitation.user.has_rights() else ""


def new_link_secret(prefix: str) -> str:
    return prefix + random_base62(LENGTH)


def find_invitation(secret: str) -> Invitation | None:
    return Invitation.objects.select_related("user").filter(digest=digest(secret)).first()


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
