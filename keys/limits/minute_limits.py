"""The limits of calls and artifact transfers a minute: their names in the counters, their value, and the refusal above
them."""

import math

from django.conf import settings

from keys.limits.sliding_minute import SlidingMinute
from keys.models import ApiKey, Organisation
from keys.refusals import Refusal

MAX_RETRY_SECONDS = 30  # a longer Retry-After exceeds the total timeout of MLflow's client
CALLS, TRANSFERS = "calls", "transfers"


def minute_limit(key: ApiKey | None) -> int:
    limit: int = (key and key.requests_per_minute) or settings.DEFAULT_REQUESTS_PER_MINUTE
    return limit


def minute_name(public_id: str, *, is_transfer: bool) -> str:
    return f"{public_id}/{TRANSFERS if is_transfer else CALLS}"


def organisation_name(organisation: Organisation) -> str:
    """Its name in the counters, which no key or user has."""
    return f"organisation-{organisation.pk}"


def too_many_calls(who: str, limit: int, used: SlidingMinute, *, is_transfer: bool) -> Refusal:
    """`who`: the caller, or the organisation whose keys have reached their common limit."""
    wait = min(MAX_RETRY_SECONDS, max(1, math.ceil(used.free_in(limit))))
    what = TRANSFERS if is_transfer else CALLS
    return Refusal(
        status=429,
        error_code="REQUEST_LIMIT_EXCEEDED",
        reason="too_many_calls",
        message=f"{who} may make {limit:,} {'artifact transfers' if is_transfer else 'calls'} a minute. "
        f"Try again in {wait} s, make fewer calls (log metrics in batches), or ask your administrator for more.",
        # draft-ietf-httpapi-ratelimit-headers-10
        headers={
            "Retry-After": str(wait),
            "RateLimit-Policy": f'"{what}";q={limit};w=60',
            "RateLimit": f'"{what}";r=0;t={wait}',
        },
    )
