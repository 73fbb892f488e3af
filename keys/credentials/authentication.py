"""From a request's headers to the key that it carries, or to a refusal that says why not."""

import datetime
from collections.abc import Mapping
from typing import NoReturn, Protocol
from urllib.parse import unquote_plus

from django.conf import settings
from django.utils import timezone

from keys.credentials import tokens
from keys.credentials.addresses import client_address, is_within
from keys.credentials.caller import Caller
from keys.credentials.headers import HOW_TO_SEND_A_KEY, OVERRIDES, read_credential
from keys.credentials.lookup import KeyMatch, find_cached_key, hash_headers, recall_key, remember_key
from keys.credentials.signed_tokens import is_signed_token
from keys.credentials.trusts import find_trusted_key, recall_trusted_key
from keys.database import DATABASE_ERRORS, database_required
from keys.models import ApiKey
from keys.refusals import Refusal, forbidden, unauthenticated

# Names of query parameters in which people send keys.
QUERY_NAMES = frozenset({"api_key", "apikey", "api-key", "access_token", "x-api-key"})
OVERRIDES_HINT = f" If you set MLFLOW_TRACKING_TOKEN, check whether {OVERRIDES}."
BASIC_HINT = (
    " The key came as a Basic password; if you set MLFLOW_TRACKING_TOKEN, check whether "
    f"{OVERRIDES} with an older key."
)
OF_ANOTHER_KEY = ("scope", "network", "pattern", "not_owner")  # reasons (403) that another key might not get


class CanaryListener(Protocol):
    def __call__(self, key: ApiKey, *, address: str, client: str) -> None: ...


canary_listeners: list[
    CanaryListener
] = []  # called before a canary is refused; keys.apps registers the alert


def authenticate(meta: Mapping[str, str]) -> Caller:
    """The caller whose key the request (`meta`: WSGI names) carries.

    Raises Refusal: 401 if the key is missing, unknown, mistyped, expired, paused, revoked or in the query string,
    400 for two different credentials, 429 if PostgreSQL is needed and unavailable.
    """
    refuse_key_in_query(meta.get("QUERY_STRING", ""))
    headers = hash_headers(meta)
    match, trusted = recall_key(headers), recall_trusted_key(headers)
    text = "" if match or trusted else read_credential(meta).text
    try:
        if trusted is None and is_signed_token(text):
            trusted = find_trusted_key(text, headers)
        if trusted:
            return check_caller(trusted.key, subject=trusted.subject)
        return check_match(match or find_key_of(text, headers), meta)
    except Refusal as refusal:
        hint_at_overrides(refusal, meta)
        raise


def hint_at_overrides(refusal: Refusal, meta: Mapping[str, str]) -> None:
    """Add to the refusal of a key that came as a Basic password where MLflow's client may have found it."""
    is_basic = meta.get("HTTP_AUTHORIZATION", "").strip().lower().startswith("basic ")
    if is_basic and (refusal.status == 401 or refusal.reason in OF_ANOTHER_KEY):
        refusal.message = refusal.message.removesuffix(OVERRIDES_HINT).removesuffix(BASIC_HINT) + BASIC_HINT


def find_key_of(text: str, headers: bytes) -> KeyMatch:
    """The key with the secret `text`, which the headers with this hash carry. Raises Refusal (401, 429)."""
    token = parse_credential(text)
    match = find_caller_key(token)
    remember_key(headers, token)
    return match


def check_match(match: KeyMatch, meta: Mapping[str, str]) -> Caller:
    """The caller if the key works; otherwise a Refusal (401)."""
    key, is_previous = match
    if key.is_canary:
        address = client_address(meta, trusted_proxies=settings.TRUSTED_PROXIES)
        refuse_canary(key, address=address, client=str(meta.get("HTTP_USER_AGENT", "")))
    return check_caller(key, is_previous=is_previous, subject=key.exchanged.subject if key.exchanged else "")


def check_caller(key: ApiKey, *, is_previous: bool = False, subject: str = "") -> Caller:
    """`check_state`, whose Refusal names the caller, so that the key holder finds the call in the usage log."""
    try:
        return check_state(key, is_previous, subject)
    except Refusal as refusal:
        refusal.caller = Caller.by_key(key, is_previous=is_previous, subject=subject)
        raise


def refuse_canary(key: ApiKey, *, address: str, client: str) -> NoReturn:
    """Report the use of a canary to the listeners, then refuse it like an unknown key."""
    for listener in canary_listeners:
        listener(key, address=address, client=client)
    raise unknown_key()


def refuse_key_in_query(query: str) -> None:
    """Raise Refusal if the query string carries a key: addresses end up in logs and histories."""
    if not query:
        return
    names = {unquote_plus(part.partition("=")[0]).lower() for part in query.split("&")}
    if tokens.KEY_LIKE_PATTERN.search(unquote_plus(unquote_plus(query))) or names & QUERY_NAMES:
        raise unauthenticated(
            "key_in_query",
            "Do not send an API key in the URL: URLs end up in logs. "
            f"{HOW_TO_SEND_A_KEY}. If the key was real, have it revoked and a new one issued.",
        )


def parse_credential(text: str) -> tokens.Token:
    try:
        return tokens.parse(text)
    except tokens.InvalidToken as error:
        hint = "" if text.startswith("hk_") else OVERRIDES_HINT
        raise unauthenticated("malformed_key", f"{str(error)[0].upper()}{str(error)[1:]}.{hint}") from error


def find_caller_key(token: tokens.Token) -> KeyMatch:
    """The key with this secret. Raises Refusal: 401 with the same message for an unknown key and a wrong secret,
    429 if PostgreSQL is needed and unavailable."""
    with database_required("The portal cannot check API keys just now. Try again in a few seconds."):
        match = find_cached_key(token)
    if match is None:
        raise unknown_key()
    return match


def unknown_key() -> Refusal:
    return unauthenticated(
        "unknown_key",
        "This API key is not known here. It may belong to another registry, or may have been removed; "
        "ask your administrator for a new one.",
    )


def check_state(key: ApiKey, is_previous: bool = False, subject: str = "") -> Caller:
    """The caller if the key works; otherwise a Refusal. Only a client that sent the real secret gets these reasons."""
    now = timezone.now()
    if key.is_canary:
        raise unknown_key()
    if key.revoked_at:
        raise key_ended(key, "revoked_key", "was revoked", key.revoked_at)
    if key.exchanged and key.exchanged.expires_at <= now:
        raise unauthenticated(
            "expired_key",
            f"This key, which was exchanged for a token, expired on {key.exchanged.expires_at:%Y-%m-%d %H:%M} UTC. "
            "Exchange a new token.",
        )
    if is_previous and (key.previous_ends_at is None or key.previous_ends_at <= now):
        raise key_ended(key, "rotated_key", "got a new secret, and this old one ended", key.previous_ends_at)
    if key.paused_at:
        raise unauthenticated("paused_key", describe_pause(key, key.paused_at))
    if not key.owner.is_active:
        raise unauthenticated(
            "inactive_user",
            f"The account “{key.owner.username}”, which owns this {'API key' if key.has_secret else 'trust'}, is "
            "deactivated. "
            "Ask your administrator to reactivate it.",
        )
    if key.expires_at and key.expires_at <= now:
        if now >= key.expires_at + datetime.timedelta(seconds=settings.EXPIRY_GRACE):
            raise key_ended(key, "expired_key", "expired", key.expires_at)
        return Caller.by_key(key, is_previous=is_previous, in_grace=True, subject=subject)
    return Caller.by_key(key, is_previous=is_previous, subject=subject)


def describe_pause(key: ApiKey, paused_at: datetime.datetime) -> str:
    """Why a paused key is refused. Without the reporter's address, because a stranger may have the secret."""
    paused = f"The {key.title} has been paused since {paused_at:%Y-%m-%d %H:%M} UTC."
    try:
        leak = key.leak
    except DATABASE_ERRORS:
        return f"{paused} Ask your administrator."
    if leak is None:
        return f"{paused} Ask your administrator to resume it."
    return (
        f"{paused} It was found {leak.describe_leak(with_reporter=False)}. This secret never works again: rotate the "
        "key on its page in the portal (the old secret ends now), or ask your administrator for a new secret."
    )


def key_ended(key: ApiKey, reason: str, what: str, when: datetime.datetime | None) -> Refusal:
    on = f" on {when:%Y-%m-%d %H:%M} UTC" if when else ""
    return unauthenticated(reason, f"The {key.title} {what}{on}. Ask your administrator for a new one.")


def check_network(caller: Caller, address: str) -> None:
    """Raise Refusal if the caller's key works only from certain networks and `address` is in none of them."""
    networks = caller.networks
    if networks and not is_within(address, networks):
        raise forbidden(
            "network",
            f"{caller} works only from {', '.join(networks)}; "
            f"this call came from {address or 'an unknown address'}.",
        )
