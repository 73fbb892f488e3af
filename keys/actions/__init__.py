"""What is done to keys. Each action writes the row and its KeyEvent in one transaction.

The admin pages, the API and the commands only call these. PostgreSQL announces each change, so that it takes effect
in every process within a second.
"""

import datetime
import ipaddress
import unicodedata
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.db import transaction
from django.utils import timezone

from keys.actions import grants
from keys.actions.actor import COMMAND, Actor
from keys.actions.overlaps import OVERLAPS as OVERLAPS
from keys.credentials import tokens
from keys.models import LIMITS, ApiKey, KeyEvent, User
from keys.rights.scopes import DEFAULT_PRESET, parse

RIGHTS = ("scopes", "networks", "patterns", "any_owner", *LIMITS, "expires_at", "name", "purpose")
HIDDEN = frozenset({"Cc", "Cf", "Zl", "Zp"})  # Unicode's categories: control, format, line and paragraph
JOINERS = "\u200c\u200d"  # which are part of words and signs in many scripts
MOST = {"requests_per_minute": 2**31 - 1, "monthly_requests": 2**63 - 1, "monthly_bytes": 2**63 - 1}


class ActionError(ValueError):
    """What was asked cannot be done; the message says why and what to do."""


class NotAllowed(ActionError):
    """It could be done, but not by this actor."""


@transaction.atomic
def issue(
    *,
    owner: User,
    name: str,
    environment: str = "live",
    purpose: str = "",
    scopes: Sequence[str] = DEFAULT_PRESET.scopes,
    networks: Sequence[str] = (),
    patterns: Sequence[str] = (),
    any_owner: bool = False,
    requests_per_minute: int | None = None,
    monthly_requests: int | None = None,
    monthly_bytes: int | None = None,
    expires_at: datetime.datetime | None = None,
    is_canary: bool = False,
    actor: Actor = COMMAND,
) -> tuple[ApiKey, str]:
    """Make a key for `owner`; returns the row and the secret, which exists nowhere else.

    `is_canary`: it opens nothing, is refused as if unknown, and its use is told (`keys.alerts.leaks`).
    `requests_per_minute` None: the portal's default; a month's limits None: none.
    Raises ActionError for rights that are none, `tokens.InvalidToken` for an unknown environment.
    """
    token = tokens.generate(environment)
    legible("name", name)
    legible("purpose", purpose)
    rights = checked(
        {
            "scopes": scopes,
            "networks": networks,
            "patterns": patterns,
            "any_owner": any_owner,
            "requests_per_minute": requests_per_minute,
            "monthly_requests": monthly_requests,
            "monthly_bytes": monthly_bytes,
            "expires_at": expires_at,
        }
    )
    allowed(
        grants.problem(
            rights["scopes"], owner_id=owner.pk, environment=environment, user=actor.user, by_key=actor.key
        )
    )
    key = ApiKey.objects.create(
        owner=owner,
        name=name,
        purpose=purpose,
        environment=environment,
        is_canary=is_canary,
        **rights,
        **secret_of(token),
        created_by=actor.user,
    )
    detail = shown(rights) | ({"is_canary": True} if is_canary else {})
    record(key, KeyEvent.Kind.ISSUED, actor=actor, **detail)
    return key, token.secret


@transaction.atomic
def change(
    *,
    key: ApiKey,
    actor: Actor = COMMAND,
    **changes: Any,
) -> ApiKey:
    """Change a key's rights, name or purpose (`RIGHTS`). What stays as it was is not an event."""
    if unknown := set(changes) - set(RIGHTS):
        raise ActionError(f"{', '.join(sorted(unknown))} cannot be changed")
    key = live(key)
    changes = {name: value for name, value in checked(changes).items() if getattr(key, name) != value}
    if changes:
        scopes = {*key.scopes, *changes.get("scopes", ())}
        allowed(
            grants.problem(
                scopes, owner_id=key.owner_id, environment=key.environment, user=actor.user, by_key=actor.key
            )
        )
        before = {name: getattr(key, name) for name in changes}
        for name, value in changes.items():
            setattr(key, name, value)
        key.save(update_fields=list(changes))
        record(
            key,
            KeyEvent.Kind.CHANGED,
            actor=actor,
            before=shown(before),
            after=shown(changes),
        )
    return key


@transaction.atomic
def pause(
    *,
    key: ApiKey,
    reason: str = "",
    actor: Actor = COMMAND,
) -> ApiKey:
    """Stop a key until it is resumed. Pausing a paused key changes nothing."""
    key = live(key)
    if key.paused_at is None:
        key.paused_at = timezone.now()
        key.save(update_fields=["paused_at"])
        record(key, KeyEvent.Kind.PAUSED, actor=actor, reason=reason)
    return key


@transaction.atomic
def resume(*, key: ApiKey, actor: Actor = COMMAND) -> ApiKey:
    """Let a paused key work again."""
    key = live(key)
    allowed(grants.resumption_problem(key, user=actor.user, by_key=actor.key))
    if key.paused_at is not None:
        key.paused_at = None
        key.save(update_fields=["paused_at"])
        record(key, KeyEvent.Kind.RESUMED, actor=actor)
    return key


@transaction.atomic
def rotate(
    *,
    key: ApiKey,
    overlap: str = "24h",
    actor: Actor = COMMAND,
) -> tuple[ApiKey, str]:
    """Give a key a new secret; the old one works until `overlap` (`OVERLAPS`) has passed.

    Returns the row and the new secret, which exists nowhere else. Raises ActionError for a key that is
    revoked or expired, and for a second overlap while one is running.
    """
    if overlap not in OVERLAPS:
        raise ActionError(f"the overlap is one of {', '.join(OVERLAPS)}")
    key = live(key)
    allowed(grants.rotation_problem(key, user=actor.user, by_key=actor.key))
    now = timezone.now()
    if key.state == ApiKey.State.EXPIRED:
        raise ActionError("the key has expired; issue a new one")
    if overlap != "now" and key.previous_ends_at and key.previous_ends_at > now:
        raise ActionError(
            f"the last rotation's old secret still works until {key.previous_ends_at:%Y-%m-%d %H:%M} UTC; "
            "rotate with the overlap “now” to end both, or wait"
        )
    token = tokens.generate(key.environment)
    keep = overlap != "now"
    key.previous_digest = key.digest if keep else None
    key.previous_prefix, key.previous_last4 = (key.prefix, key.last4) if keep else ("", "")
    key.previous_ends_at = now + OVERLAPS[overlap].length if keep else None
    key.previous_used_at, key.previous_used_address = (
        (key.last_used_at, key.last_used_address) if keep else (None, None)
    )
    key.previous_used_client = key.last_used_client if keep else ""
    key.last_used_at, key.last_used_address, key.last_used_client = None, None, ""
    for name, value in secret_of(token).items():
        setattr(key, name, value)
    key.save()
    record(key, KeyEvent.Kind.ROTATED, actor=actor, overlap=overlap)
    return key, token.secret


@transaction.atomic
def revoke(
    *,
    key: ApiKey,
    reason: str = "",
    actor: Actor = COMMAND,
) -> ApiKey:
    """End a key for good. Revoking a revoked key changes nothing and writes no second event."""
    key = ApiKey.objects.select_for_update().get(pk=key.pk)
    if key.revoked_at is None:
        key.revoked_at, key.revoked_reason = timezone.now(), reason
        key.save(update_fields=["revoked_at", "revoked_reason"])
        record(key, KeyEvent.Kind.REVOKED, actor=actor, reason=reason)
    return key


def allowed(problem: str) -> None:
    """Raise NotAllowed if there is a problem."""
    if problem:
        raise NotAllowed(problem)


@transaction.atomic
def deactivate(
    *,
    user: User,
    reason: str = "",
    actor: Actor = COMMAND,
) -> list[ApiKey]:
    """Shut a user out: no sign-in, open sessions end, and every key that works is paused. Returns those keys.

    Raises ActionError for whoever does it, and for the last superuser: nobody could undo that in the pages.
    """
    user = User.objects.select_for_update().get(pk=user.pk)
    if actor.user and actor.user.pk == user.pk:
        raise ActionError("you cannot deactivate yourself; ask another administrator")
    others = User.objects.filter(is_superuser=True, is_active=True).exclude(pk=user.pk)
    if user.is_superuser and user.is_active and not others.exists():
        raise ActionError("this is the last superuser; make another one first")
    if user.is_active:
        user.is_active = False
        user.save(update_fields=["is_active"])
    end_sessions(user)
    words = f"The account was deactivated{f': {reason}' if reason else ''}"
    return [
        pause(key=key, reason=words, actor=actor)
        for key in user.api_keys.active_but_for_owner().order_by("pk")
    ]


def end_sessions(user: User) -> None:
    """For good: a reactivation does not bring them back. Those of the last hours, as they are not named by user."""
    for session in Session.objects.filter(expire_date__gt=timezone.now()).iterator():
        if session.get_decoded().get(SESSION_KEY) == str(user.pk):
            session.delete()


@transaction.atomic
def reactivate(*, user: User) -> list[ApiKey]:
    """Let a user in again. Returns the keys that stay paused: each is resumed by itself, or not at all."""
    user = User.objects.select_for_update().get(pk=user.pk)
    if not user.is_active:
        user.is_active = True
        user.save(update_fields=["is_active"])
    return list(user.api_keys.filter(revoked_at=None, paused_at__isnull=False).order_by("pk"))


def live(key: ApiKey) -> ApiKey:
    """The row, locked. Raises ActionError if the key is revoked: that is for good."""
    key = ApiKey.objects.select_for_update().get(pk=key.pk)
    if key.revoked_at:
        raise ActionError(f"the key was revoked on {key.revoked_at:%Y-%m-%d %H:%M} UTC; issue a new one")
    return key


def secret_of(token: tokens.Token) -> dict[str, str]:
    """What is stored of a secret."""
    return {
        "digest": tokens.digest(token, settings.KEY_PEPPERS[0]),
        "prefix": token.prefix,
        "last4": token.last4,
    }


def checked(rights: dict[str, Any]) -> dict[str, Any]:
    """The rights in their stored form, or ActionError naming the field and what it takes."""
    rights = dict(rights)
    if "scopes" in rights:
        try:
            rights["scopes"] = [scope.value for scope in parse(rights["scopes"])]
        except ValueError as error:
            raise ActionError(str(error)) from None
        if not rights["scopes"]:
            raise ActionError("a key needs at least one scope")
    if "networks" in rights:
        rights["networks"] = [network(text) for text in rights["networks"]]
    if "patterns" in rights:
        rights["patterns"] = [pattern.strip() for pattern in rights["patterns"] if pattern.strip()]
        if any(len(pattern) > 256 for pattern in rights["patterns"]):
            raise ActionError("a pattern has at most 256 characters")
    for limit in LIMITS:
        value = rights.get(limit)
        if value is not None and not 1 <= value <= MOST[limit]:
            words = limit.replace("_", " ")
            raise ActionError(f"{words}: a whole number from 1 up; leave it empty for no limit of its own")
    for field in ("name", "purpose"):
        legible(field, rights.get(field))
    if rights.get("expires_at") and rights["expires_at"] <= timezone.now():
        raise ActionError("the expiry lies in the past")
    return rights


def legible(field: str, text: str | None) -> None:
    """Raises ActionError for characters that nobody sees but terminals and readers heed: a name stands in lists,
    messages and logs, on a line of its own."""
    for character in text or "":
        is_hidden = unicodedata.category(character) in HIDDEN and character not in JOINERS
        if is_hidden and not (field == "purpose" and character in "\r\n\t"):
            raise ActionError(f"{field}: it holds U+{ord(character):04X}, which is not shown; leave that out")


def network(text: str) -> str:
    try:
        if "%" in text:
            raise ValueError("a zone, which has a meaning on one machine only")
        return str(ipaddress.ip_network(text.strip()))
    except ValueError:
        raise ActionError(f"“{text}” is no network; write it as 10.1.0.0/16 or 2001:db8::/32") from None


def shown(rights: dict[str, Any]) -> dict[str, Any]:
    """Rights as an event keeps them."""
    return {
        name: value.isoformat() if isinstance(value, datetime.datetime) else value
        for name, value in rights.items()
    }


def record(
    key: ApiKey,
    kind: str,
    *,
    actor: Actor,
    **detail: Any,
) -> None:
    if actor.key:
        detail["via"] = actor.key.public_id
    KeyEvent.objects.create(key=key, kind=kind, actor=actor.user, address=actor.address, detail=detail)
