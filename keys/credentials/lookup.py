"""The one way from a secret to its key.

The headers of a key that was found are remembered by a keyed hash, with the key's digests, so that the next call with
the same headers needs neither to parse the credential nor to compute its digest. No secret stays in memory.
"""

import logging
import secrets
import time
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import NamedTuple

from django.conf import settings
from django.utils import timezone
from prometheus_client import Counter

from keys.credentials import cache, tokens
from keys.credentials.tokens import Token
from keys.database import DATABASE_ERRORS
from keys.models import ApiKey, ExchangedKey

logger = logging.getLogger(__name__)

# While a rotation of KEY_PEPPERS is rolled out, two portals disagree which pepper is the newest, and each would move a
# key back. So a process moves a key at most once in this time.
MOVE_SECONDS = 60.0
_moved: dict[int, float] = {}  # when this process last moved a key, by the key's number
LOOKUPS = Counter(
    "hokusai_key_lookups", "Keys looked up: hit, in memory; miss, PostgreSQL was asked.", ["outcome"]
)
HITS, MISSES = LOOKUPS.labels("hit"), LOOKUPS.labels("miss")
MOST_REMEMBERED = 10_000  # headers
HASH_KEY = secrets.token_bytes(32)


class KeyMatch(NamedTuple):
    """A key with its owner. `is_previous`: the secret is the one from before the last rotation."""

    key: ApiKey
    is_previous: bool


def find_keys(tokens_sent: Iterable[Token]) -> list[KeyMatch]:
    """The keys with these secrets, read from PostgreSQL."""
    digests = [digest for token in tokens_sent for digest in tokens.digests(token, settings.KEY_PEPPERS)]
    return [
        KeyMatch(key, key.digest not in digests) for key in ApiKey.objects.with_owner().for_digests(digests)
    ]


def find_exchanged_key(secret: Token) -> ApiKey | None:
    """The key of the trust for whose token this one was exchanged, read from PostgreSQL, until it ends."""
    digests = tokens.digests(secret, settings.KEY_PEPPERS)
    rows = ExchangedKey.objects.filter(digest__in=digests, expires_at__gt=timezone.now())
    if (found := rows.select_related("trust__key__owner", "trust__key__organisation").first()) is None:
        return None
    key = found.trust.key
    key.exchanged = found
    return key


def find_key(secret: Token) -> KeyMatch | None:
    """The key with this secret, read from PostgreSQL."""
    return next(iter(find_keys([secret])), None)


def find_cached_key(secret: Token) -> KeyMatch | None:
    """The same from this process's cache if that is fresh, so that most calls cost no query.

    Raises a database error if PostgreSQL is unavailable and the key is not in the cache.
    """
    digests = tokens.digests(secret, settings.KEY_PEPPERS)
    outcome = HITS

    def fetch() -> ApiKey | None:
        nonlocal outcome
        outcome = MISSES
        match = find_key(secret)
        if match is None:
            return find_exchanged_key(secret)
        move_to_newest_pepper(match.key, digests)
        return match.key

    try:
        key = cache.key_cache.get(digests[0], fetch)
    finally:
        outcome.inc()
    return KeyMatch(key, is_previous(key, digests)) if key else None


def is_previous(key: ApiKey, digests: list[str]) -> bool:
    """Whether the secret with these digests is the key's from before its last rotation."""
    return key.exchanged is None and key.digest not in digests


class Remembered(NamedTuple):
    """The digests of a secret under the peppers of that time."""

    digests: list[str]
    peppers: list[str]


remembered: dict[bytes, Remembered] = {}  # by the hash of the headers


def hash_headers(meta: Mapping[str, str]) -> bytes:
    sent = f"{meta.get('HTTP_AUTHORIZATION', '')}\0{meta.get('HTTP_X_API_KEY', '')}"
    return blake2b(sent.encode(errors="surrogatepass"), key=HASH_KEY, digest_size=32).digest()


def remember_key(headers: bytes, secret: Token) -> None:
    """Remember which secret the headers with this hash carry. Only for one that has a key: nobody else can fill the
    memory."""
    if len(remembered) >= MOST_REMEMBERED:
        remembered.clear()
    peppers = settings.KEY_PEPPERS
    remembered[headers] = Remembered(tokens.digests(secret, peppers), peppers)


def recall_key(headers: bytes) -> KeyMatch | None:
    """The key of headers with this hash, if they are remembered, and if it is in this process's cache and that is
    fresh."""
    found = remembered.get(headers)
    if found is None or found.peppers is not settings.KEY_PEPPERS:
        return None
    if (key := cache.key_cache.peek(found.digests[0])) is None:
        return None
    HITS.inc()
    return KeyMatch(key, is_previous(key, found.digests))


def move_to_newest_pepper(key: ApiKey, digests: list[str]) -> None:
    """Store the digest of the secret that was used under the newest pepper, so that an older pepper can be removed.

    `digests`: of the secret, under each pepper, the newest first. The key works whether or not this succeeds.
    """
    now = time.monotonic()
    column = "digest" if key.digest in digests else "previous_digest"
    old = getattr(key, column)
    if old == digests[0] or now - _moved.get(key.pk, float("-inf")) < MOVE_SECONDS:
        return
    try:
        ApiKey.objects.filter(pk=key.pk, **{column: old}).update(**{column: digests[0]})
    except DATABASE_ERRORS as error:  # such as a database that accepts no writes during a failover
        logger.warning("key_not_moved", extra={"key_id": key.public_id, "error": type(error).__name__})
        return
    _moved[key.pk] = now
    setattr(key, column, digests[0])
