"""Reports of keys that were found in the open.

The response tells a reporter nothing: it is the same, after the same time, for a real key and for one that only looks
real.
"""

import logging
import time

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from keys.actions import pause, record_event
from keys.actions.actor import Actor, Via
from keys.alerts.notifications import notify
from keys.credentials import tokens
from keys.credentials.addresses import network_of
from keys.credentials.lookup import find_keys
from keys.limits.counters import get_counters
from keys.models import LEAK_REASON, Alert, ApiKey, ExchangedKey, KeyEvent
from keys.refusals import Refusal, invalid

logger = logging.getLogger(__name__)

MAX_KEYS = 20  # of one report
MAX_TEXT = 100_000  # characters
MAX_LOCATIONS = 10  # of one secret that the history records
REPORTS_A_MINUTE = 10  # from one network
FLOOR_SECONDS = 0.3  # the minimum duration of a report, for a real key and any other
THANKS = "Thank you. If this is a key of this registry, it has been paused, and its owner will be notified."


def limit_reports(address: str) -> None:
    """Count a report before its body is read. Raises Refusal: 429 for too many."""
    if not get_counters().hit(f"leaks/{network_of(address)}", REPORTS_A_MINUTE):
        raise too_many_reports()


def report(*, text: str, where: str = "", address: str = "") -> None:
    """Pause each real key in `text`, write an event, and alert its owner and the administrators.

    Raises Refusal: 400 if the text contains no well-formed key. Other errors are only logged, because a response that
    depends on them would distinguish a real key from any other.
    """
    started = time.monotonic()
    where = one_line(where, 200)
    secrets = find_tokens(text[:MAX_TEXT])
    if not secrets:
        raise invalid(
            "no_key_in_report",
            "There is no key in this. A key starts with hk_live_ or hk_test_, followed by 32 letters and digits. "
            "Send the whole key, as you found it.",
        )
    actor = Actor(user=None, address=address or None, via=Via.PORTAL)
    end_exchanged_keys(secrets)
    for key, is_previous in find_keys(secrets):
        is_old = is_previous and (key.previous_ends_at is None or key.previous_ends_at <= timezone.now())
        try:
            if not is_old:
                pause_key(key, where=where, actor=actor)
            else:
                record_old_secret(key, where=where, actor=actor)
        except Exception:  # the other keys of the report are paused all the same
            logger.exception("found_key_not_shut", extra={"key_id": key.public_id})
    time.sleep(max(0.0, started + FLOOR_SECONDS - time.monotonic()))


def end_exchanged_keys(secrets: list[tokens.Token]) -> None:
    """End keys that were exchanged for a token. The trust itself stays: nothing of it is in the open."""
    digests = [digest for token in secrets for digest in tokens.digests(token, settings.KEY_PEPPERS)]
    ended, _ = ExchangedKey.objects.filter(digest__in=digests).delete()
    if ended:
        logger.warning("exchanged_key_found", extra={"keys": ended})


def find_tokens(text: str) -> list[tokens.Token]:
    """The keys in a text whose checksum is correct."""
    secrets: dict[str, tokens.Token] = {}
    for match in tokens.KEY_PATTERN.finditer(text):
        try:
            token = tokens.parse(match[0])
        except tokens.InvalidToken:
            continue
        secrets[token.secret] = token
    return list(secrets.values())[:MAX_KEYS]


def one_line(text: str, length: int) -> str:
    """A stranger's text on one line, without keys, and without characters that PostgreSQL does not store."""
    printable = "".join(character if character.isprintable() else " " for character in tokens.hide(text))
    return " ".join(printable.split())[:length]


@transaction.atomic
def pause_key(key: ApiKey, *, where: str, actor: Actor) -> None:
    """Pause a key that was found, and record the report. A further report of the same secret raises no alert; the
    history records it if it names another location."""
    was_live = key.revoked_at is None and key.paused_at is None
    if key.revoked_at is None:
        key = pause(key=key, reason=LEAK_REASON, actor=actor)
    occasion = f"{key.paused_at or key.revoked_at:%Y-%m-%dT%H:%M:%S.%f}Z"
    is_new = notify(kind=Alert.Kind.LEAKED, key=key, occasion=occasion, where=where, was_live=was_live)
    if is_new or is_new_location(key, where):
        record_event(key, KeyEvent.Kind.LEAKED, actor=actor, where=where)


def is_new_location(key: ApiKey, where: str) -> bool:
    """Whether the key's history lacks this location. True for a key without a report, because the report is what keeps
    the secret from being resumed."""
    locations = [report.detail.get("where", "") for report in key.events.leaks()[:MAX_LOCATIONS]]
    return not locations or (bool(where) and len(locations) < MAX_LOCATIONS and where not in locations)


@transaction.atomic
def record_old_secret(key: ApiKey, *, where: str, actor: Actor) -> None:
    """Record that somebody found a secret that a rotation has ended. It gives no access, so nothing is paused. There is
    at most one alert a day."""
    occasion = f"old secret {timezone.now():%Y-%m-%d}"
    if notify(kind=Alert.Kind.LEAKED, key=key, occasion=occasion, where=where, was_live=False, is_old=True):
        record_event(key, KeyEvent.Kind.LEAKED, actor=actor, where=where, found="the old secret")


def too_many_reports() -> Refusal:
    return Refusal(
        status=429,
        error_code="REQUEST_LIMIT_EXCEEDED",
        reason="too_many_reports",
        message="Too many reports came from your network within a minute. "
        "Send several keys in one report, or wait a minute.",
        headers={"Retry-After": "30"},
    )
