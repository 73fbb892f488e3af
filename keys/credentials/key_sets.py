"""The key sets of issuers, in this process's memory, and how they are fetched.

A call fetches a key set only if the issuer's is not known yet, or lacks the key that a token names, and then at most
once a minute. Otherwise a set is renewed in the background. While the issuer is unavailable, the known set stays.
"""

import http.client
import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass, field
from functools import lru_cache

from keys import direct_http
from keys.credentials.signed_tokens import KeySet, SigningKey, parse_key_set
from keys.refusals import not_sent, unauthenticated

logger = logging.getLogger(__name__)

FETCH_SECONDS = 5.0  # for each of the two documents
WAIT_SECONDS = 8.0  # for a fetch, of a call that needs it
MOST_WAITING = 8  # calls that wait for one issuer
REFETCH_SECONDS = 60.0  # between two fetches for a key that the set lacks
RETRY_SECONDS = 10.0  # between two fetches while there is no set
RENEW_SECONDS = 900.0  # the age from which on a set is renewed in the background
MOST_BYTES = 256 * 1024
DISCOVERY = "/.well-known/openid-configuration"  # OpenID Connect Discovery 1.0, 4


@dataclass(frozen=True, kw_only=True)
class KeySource:
    """Where an issuer's keys come from. `uploaded`: its JWK set as JSON, which is never fetched."""

    issuer: str
    uploaded: str = ""
    is_private: bool = False
    ca: str = ""


def fetch(source: KeySource) -> KeySet:
    """Raises OSError, HTTPException or ValueError."""
    described = fetch_json(source, source.issuer.rstrip("/") + DISCOVERY)
    if described.get("issuer") != source.issuer:
        raise ValueError("the issuer's document names another issuer")
    return parse_key_set(fetch_json(source, str(described.get("jwks_uri", ""))))


def fetch_json(source: KeySource, url: str) -> dict[str, object]:
    body = direct_http.get(
        url, seconds=FETCH_SECONDS, most_bytes=MOST_BYTES, allow_private=source.is_private, ca=source.ca
    )
    content = json.loads(body)
    if not isinstance(content, dict):
        raise ValueError("the document is not a JSON object")
    return content


@lru_cache(maxsize=100)
def read_uploaded(text: str) -> KeySet:
    return parse_key_set(json.loads(text))


@dataclass
class Known:
    """What this process knows of one issuer. Times are of the monotonic clock."""

    keys: KeySet | None = None
    fetched: float = float("-inf")
    tried: float = float("-inf")
    fetching: "Future[None] | None" = None
    waiting: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class KeySets:
    """Key sets by source. Thread-safe."""

    def __init__(
        self, *, fetch: Callable[[KeySource], KeySet] = fetch, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.fetch, self.clock = fetch, clock
        self.known: dict[KeySource, Known] = {}
        self.lock = threading.Lock()

    def keep_only(self, sources: set[KeySource]) -> None:
        """Forget sources that no trust names any more."""
        with self.lock:
            self.known = {source: known for source, known in self.known.items() if source in sources}

    def current(self, source: KeySource) -> KeySet | None:
        """The set in memory. If it is old, a thread renews it."""
        if source.uploaded:
            return read_uploaded(source.uploaded)
        known = self.known.get(source)
        if known is None:
            return None
        now = self.clock()
        if now - known.fetched > RENEW_SECONDS and now - known.tried > REFETCH_SECONDS:
            self.begin(source, known)
        return known.keys

    def find(self, source: KeySource, key_id: str) -> tuple[SigningKey, KeySet]:
        """The key with this id, and the set that has it. Raises Refusal: 401 for an unknown key, 429 without a set."""
        keys = self.current(source)
        if (keys is None or key_id not in keys) and not source.uploaded:
            keys = self.ask(source)
        if keys is None:
            raise not_sent(
                "issuer_unavailable",
                "The portal cannot fetch the keys of the token's issuer (iss) just now. Try again in a few seconds.",
                retry_after=int(RETRY_SECONDS),
            )
        if key_id not in keys:
            raise unauthenticated(
                "token_key",
                "The token's header names a key (kid) that the issuer's key set does not have. The portal fetches the "
                "set for a new key at most once a minute; an uploaded set must be replaced by its owner.",
            )
        return keys[key_id], keys

    def ask(self, source: KeySource) -> KeySet | None:
        """Fetch the set if that is due, and wait for a fetch that runs."""
        with self.lock:
            known = self.known.setdefault(source, Known())
        pause = RETRY_SECONDS if known.keys is None else REFETCH_SECONDS
        if self.clock() - known.tried >= pause:
            self.begin(source, known)
        with known.lock:
            fetching = known.fetching
            if fetching is None or known.waiting >= MOST_WAITING:
                return known.keys
            known.waiting += 1
        try:
            fetching.result(WAIT_SECONDS)
        except Late:
            pass
        finally:
            with known.lock:
                known.waiting -= 1
        return known.keys

    def begin(self, source: KeySource, known: Known) -> None:
        """Fetch in a thread, unless one does already."""
        with known.lock:
            if known.fetching is not None:
                return
            known.tried, known.fetching = self.clock(), Future()
        threading.Thread(target=self.work, args=(source, known), name="key-set", daemon=True).start()

    def work(self, source: KeySource, known: Known) -> None:
        try:
            keys = self.fetch(source)
            with known.lock:
                known.keys = known.keys if same_keys(known.keys, keys) else keys
                known.fetched = self.clock()
            logger.info("issuer_keys_fetched", extra={"issuer": source.issuer, "keys": len(keys)})
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
            logger.warning(
                "issuer_unavailable", extra={"issuer": source.issuer, "error": type(error).__name__}
            )
        finally:
            with known.lock:
                done, known.fetching = known.fetching, None
            if done is not None:
                done.set_result(None)


def same_keys(old: KeySet | None, new: KeySet) -> bool:
    return old is not None and old == new


key_sets = KeySets()
