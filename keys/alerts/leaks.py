"""Keys in the wild: one that somebody found and reports, and one that was laid out to be found.

A reporter learns nothing from the answer: it is the same for a real key and for one that only looks like it, and
takes the same time.
"""

import logging
import time
from typing import Any

from django.db import transaction
from django.utils import timezone

from keys import actions, alerts
from keys.actions.actor import Actor, Via
from keys.credentials import tokens
from keys.credentials.addresses import network_of
from keys.credentials.lookup import find_keys
from keys.database import DATABASE_ERRORS
from keys.limits.counters import get_counters
from keys.models import Alert, ApiKey, KeyEvent
from keys.refusals import Refusal, invalid

logger = logging.getLogger(__name__)

MOST_KEYS = 20  # of one report
MOST_TEXT = 100_000  # characters
REPORTS_A_MINUTE = 10  # from one network
MOST_ALARMS = 10  # of one canary in an hour, each of another network
FLOOR_SECONDS = 0.3  # that every report takes, real key or not
THANKS = "Thank you. If this is a key of this registry, it has been paused and its owner is being told."


def admit(address: str) -> None:
    """Count a report, before any of it is read. Raises Refusal: 429 for too many."""
    if not get_counters().hit(f"leaks/{network_of(address)}", REPORTS_A_MINUTE):
        raise too_many()


def report(*, text: str, where: str = "", address: str = "") -> None:
    """Take a report: pause each real key in `text`, write it down, tell its owner and the admins.

    Raises Refusal: 400 if there is no well-formed key in it. What else goes wrong is logged and not said: it would
    tell a real key from any other.
    """
    started = time.monotonic()
    where = writable(where, 200)
    found = well_formed(text[:MOST_TEXT])
    if not found:
        raise invalid(
            "no_key_in_report",
            "There is no key in this: one starts with hk_live_ or hk_test_ and has 32 letters and digits after it. "
            "Send the whole key, as you found it.",
        )
    actor = Actor(user=None, address=address or None, via=Via.PORTAL)
    for key, is_previous in find_keys(found):
        is_old = is_previous and (key.previous_ends_at is None or key.previous_ends_at <= timezone.now())
        try:
            if not is_old:
                shut(key, where=where, actor=actor)
            else:
                note_old_secret(key, where=where, actor=actor)
        except Exception:  # of one key; the others are shut all the same
            logger.exception("found_key_not_shut", extra={"key_id": key.public_id})
    time.sleep(max(0.0, started + FLOOR_SECONDS - time.monotonic()))


def well_formed(text: str) -> list[tokens.Token]:
    """The keys in a text whose checksum is right."""
    found: dict[str, tokens.Token] = {}
    for match in tokens.KEY_PATTERN.finditer(text):
        try:
            token = tokens.parse(match[0])
        except tokens.InvalidToken:
            continue
        found[token.secret] = token
    return list(found.values())[:MOST_KEYS]


def writable(text: str, length: int) -> str:
    """Strangers' words on one line, without a key, and without what PostgreSQL does not take."""
    shown = "".join(character if character.isprintable() else " " for character in tokens.hide(text))
    return " ".join(shown.split())[:length]


@transaction.atomic
def shut(key: ApiKey, *, where: str, actor: Actor) -> None:
    """A key of ours was found. Reported again, it is told again only if it had been resumed meanwhile."""
    was_live = key.revoked_at is None and key.paused_at is None
    if key.revoked_at is None:
        key = actions.pause(key=key, reason="found in the open", actor=actor)
    occasion = f"{key.paused_at or key.revoked_at:%Y-%m-%dT%H:%M:%S.%f}Z"
    if alerts.tell(kind=Alert.Kind.LEAKED, key=key, occasion=occasion, where=where, was_live=was_live):
        actions.record_event(key, KeyEvent.Kind.LEAKED, actor=actor, where=where)


@transaction.atomic
def note_old_secret(key: ApiKey, *, where: str, actor: Actor) -> None:
    """A secret that a rotation ended was found: it opens nothing, so that nothing is shut. Told once a day."""
    occasion = f"old secret {timezone.now():%Y-%m-%d}"
    if alerts.tell(
        kind=Alert.Kind.LEAKED, key=key, occasion=occasion, where=where, was_live=False, is_old=True
    ):
        actions.record_event(key, KeyEvent.Kind.LEAKED, actor=actor, where=where, found="the old secret")


def too_many() -> Refusal:
    return Refusal(
        status=429,
        error_code="REQUEST_LIMIT_EXCEEDED",
        reason="too_many_reports",
        message="So many reports came from your network just now. Send several keys in one, or wait a minute.",
        headers={"Retry-After": "30"},
    )


def sound(key: ApiKey, *, address: str, client: str) -> None:
    """A canary was used: told and written down once an hour for each network, of many networks once for all further
    ones. The caller is not to notice."""
    actor = Actor(user=None, address=address or None, via=Via.PORTAL)
    hour = f"{timezone.now():%Y-%m-%dT%H}"
    occasion = f"{network_of(address)} {hour}"
    told = Alert.objects.filter(key=key, kind=Alert.Kind.CANARY, occasion__endswith=hour)
    try:
        with transaction.atomic():
            is_one_more = told.count() >= MOST_ALARMS and not told.filter(occasion=occasion).exists()
            detail: dict[str, Any] = {"address": address}
            if is_one_more:
                occasion, detail = f"further {hour}", {"address": "many networks", "calls": 0}
            if alerts.tell(kind=Alert.Kind.CANARY, key=key, occasion=occasion, **detail):
                client = writable(client, 100)
                actions.record_event(key, KeyEvent.Kind.CANARY, actor=actor, client=client)
            if is_one_more:
                alert = told.select_for_update().get(occasion=occasion)
                alert.detail["calls"] += 1
                alert.save(update_fields=["detail"])
    except DATABASE_ERRORS:
        logger.exception("canary_not_written_down", extra={"key_id": key.public_id})
