"""Tasks of `manage.py up` in the database, run in a child process whose settings name it."""

import datetime
import secrets

from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from keys import actions
from keys.models import User

ADMIN = "admin"
RETRY_KEY_LIFETIME = datetime.timedelta(minutes=15)


def prepare_database() -> dict[str, str]:
    """Check the settings and migrate; in a database without an admin, create one and a first key.

    Returns `user`, `password` and `key` if they were created (they are stored nowhere in this form), and `warnings` of
    the settings' checks, one per line. Raises CommandError for an invalid setting.
    """
    messages = run_checks()
    serious = [
        " ".join(f"{message.msg} {message.hint or ''}".split())
        for message in messages
        if message.is_serious()
    ]
    if serious:
        raise CommandError("; ".join(serious))
    call_command("migrate", interactive=False, verbosity=0)
    return _first_admin() | {"warnings": "\n".join(" ".join(message.msg.split()) for message in messages)}


def _first_admin() -> dict[str, str]:
    if User.objects.filter(Q(is_superuser=True) | Q(username=ADMIN)).exists():
        return {}
    password = secrets.token_urlsafe(16)
    with transaction.atomic():
        admin = User.objects.create_superuser(ADMIN, password=password)
        _, key = actions.issue(owner=admin, name="first key", environment="live")
    return {"user": ADMIN, "password": password, "key": key}


def retry_key() -> dict[str, str]:
    """A short-lived key for another try of the first round trip; {} without an admin to own it."""
    admin = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    if admin is None:
        return {}
    _, key = actions.issue(
        owner=admin,
        name="first round trip, tried again",
        environment="live",
        expires_at=timezone.now() + RETRY_KEY_LIFETIME,
    )
    return {"key": key}
