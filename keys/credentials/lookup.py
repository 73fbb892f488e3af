"""The one way from a secret to its key."""

from collections.abc import Iterable
from typing import NamedTuple

from django.conf import settings
from django.utils import timezone
from prometheus_client import Counter

from keys.credentials import cache, tokens
from keys.credentials.tokens import Token
from keys.models import ApiKey, ExchangedKey

LOOKUPS = Counter(
    "hokusai_key_lookups", "Keys looked up: hit, in memory; miss, PostgreSQL was asked.", ["outcome"]
)


class KeyMatch(NamedTuple):
    """A key with its owner. `is_previous`: the secret is the one from before the last rotation."""

    key: ApiKey
    is_previous: bool


def find_keys(secrets: Iterable[Token]) -> list[KeyMatch]:
    """The keys with these secrets, read from PostgreSQL."""
    digests = [digest for token in secrets for digest in tokens.digests(token, settings.KEY_PEPPERS)]
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
    outcome = "hit"

    def fetch() -> ApiKey | None:
        nonlocal outcome
        outcome = "miss"
        match = find_key(secret)
        return match.key if match else find_exchanged_key(secret)

    try:
        key = cache.key_cache.get(digests[0], fetch)
    finally:
        LOOKUPS.labels(outcome).inc()
    if key is None:
        return None
    return KeyMatch(key, key.exchanged is None and key.digest not in digests)
