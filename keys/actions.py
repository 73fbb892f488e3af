"""What is done to keys. Each action writes the row and its KeyEvent in one transaction.

The admin pages, the API and the commands only call these.
"""

import datetime

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from keys import tokens
from keys.models import ApiKey, KeyEvent, User


@transaction.atomic
def issue(
    *,
    owner: User,
    name: str,
    environment: str = "live",
    purpose: str = "",
    expires_at: datetime.datetime | None = None,
    actor: User | None = None,
    address: str | None = None,
) -> tuple[ApiKey, str]:
    """Make a key for `owner`; returns the row and the secret, which exists nowhere else.

    `actor` is who issues it (None: the command line), `address` from where. Raises `tokens.InvalidToken`
    for an unknown environment.
    """
    token = tokens.generate(environment)
    key = ApiKey.objects.create(
        owner=owner,
        name=name,
        purpose=purpose,
        environment=environment,
        expires_at=expires_at,
        digest=tokens.digest(token, settings.KEY_PEPPERS[0]),
        prefix=token.prefix,
        last4=token.last4,
        created_by=actor,
    )
    _record(key, KeyEvent.Kind.ISSUED, actor=actor, address=address)
    return key, token.secret


@transaction.atomic
def revoke(*, key: ApiKey, reason: str = "", actor: User | None = None, address: str | None = None) -> ApiKey:
    """End a key for good. Revoking a revoked key changes nothing and writes no second event."""
    key = ApiKey.objects.select_for_update().get(pk=key.pk)
    if key.revoked_at is None:
        key.revoked_at = timezone.now()
        key.save(update_fields=["revoked_at"])
        _record(key, KeyEvent.Kind.REVOKED, actor=actor, address=address, reason=reason)
    return key


def _record(key: ApiKey, kind: str, *, actor: User | None, address: str | None, **detail: str) -> None:
    KeyEvent.objects.create(key=key, kind=kind, actor=actor, address=address, detail=detail)
