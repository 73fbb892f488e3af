"""How much a caller may do in a minute and in a month, how much it has done, and the refusal when it is too much.

Counted in Redis if REDIS_URL names one, else in this process, which is exact while it is the only one. A month's
counters begin with what the usage log's totals say, and are raised to them every REFRESH_SECONDS, so that what
another process counted is missing for no longer than that (docs/limits.md says what this comes to).
"""

import datetime
import logging
import math
import threading
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from django.conf import settings
from django.db import connection
from django.db.models import F, Q, Sum
from django.utils import timezone

from keys.credentials.caller import Caller
from keys.database import DATABASE_ERRORS
from keys.formatting import sizes
from keys.limits.counters import Away, Counters
from keys.limits.windows import Reading
from keys.models import ApiKey
from keys.refusals import Refusal, forbidden

logger = logging.getLogger(__name__)

MOST_RETRY_SECONDS = 30  # MLflow's client sleeps past its own patience if it is told more
REFRESH_SECONDS = 10.0
ENDED_A_MINUTE = 60  # calls with a secret of a key that has ended, in the log
FORGET_SECONDS = 300.0  # after which a key that no longer calls is not refreshed any more
CALLS, TRANSFERS = "calls", "transfers"


@cache
def counters() -> Counters:
    """This process's; Redis is not connected to before it is needed."""
    if not settings.REDIS_URL:
        return Counters()
    from keys.limits.redis_counters import (
        RedisCounters,  # a tenth of what a start takes, and only where it is used
    )

    return Counters(redis=RedisCounters(settings.REDIS_URL))


class Admission(NamedTuple):
    """A call that was counted in advance in a month with limits; `settle` counts what it came to."""

    month: str

    def settle(self, *, calls: int, size: int) -> None:
        if calls or size:
            counters().add(self.month, calls, size)


def admit(caller: Caller, *, is_transfer: bool) -> Admission | None:
    """Count a call before it is served; what is to be settled at its end, if anything.

    Raises Refusal: 429 over the limit of a minute, 403 when a month's is used up.
    """
    key = caller.key
    limit = per_minute(key)
    name = minute_name(key.public_id if key else caller.user.public_id, is_transfer=is_transfer)
    if not counters().hit(name, limit):
        raise too_many(caller, limit, counters().read_minute(name, limit), is_transfer=is_transfer)
    if key is None or (key.monthly_requests is None and key.monthly_bytes is None):
        return None
    month = month_name(key)
    _active[key.pk] = (month, time.monotonic())
    admitted = counters().admit(month, calls=key.monthly_requests, size=key.monthly_bytes)
    if admitted is None:
        seed(key, month)
        admitted = counters().admit(month, calls=key.monthly_requests, size=key.monthly_bytes)
    if admitted is False:
        raise used_up(key, *(counters().read_month(month) or (0, 0)))
    return Admission(month)


def has_room(caller: Caller) -> bool:
    """Whether a call with a real secret that has ended gets a row in the log: counted apart, so that whoever goes on
    with such a secret neither fills the log nor uses up what the key's other secret may do."""
    return counters().hit(f"{caller.key_id}/ended", min(ENDED_A_MINUTE, per_minute(caller.key)))


def per_minute(key: ApiKey | None) -> int:
    limit: int = (key and key.requests_per_minute) or settings.DEFAULT_REQUESTS_PER_MINUTE
    return limit


def minute_name(public_id: str, *, is_transfer: bool) -> str:
    return f"{public_id}/{TRANSFERS if is_transfer else CALLS}"


def month_name(key: ApiKey) -> str:
    return f"{key.public_id}/{month_start():%Y-%m}"


def month_start() -> datetime.datetime:
    return timezone.now().astimezone(datetime.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def too_many(caller: Caller, limit: int, reading: Reading, *, is_transfer: bool) -> Refusal:
    wait = min(MOST_RETRY_SECONDS, max(1, math.ceil(reading.free_in(limit))))
    what = TRANSFERS if is_transfer else CALLS
    return Refusal(
        status=429,
        error_code="REQUEST_LIMIT_EXCEEDED",
        reason="too_many_calls",
        message=f"{caller} may make {limit:,} {'artifact transfers' if is_transfer else 'calls'} a minute. "
        f"Try again in {wait} s, make fewer calls (log metrics in batches), or ask your administrator for more.",
        # draft-ietf-httpapi-ratelimit-headers-10
        headers={
            "Retry-After": str(wait),
            "RateLimit-Policy": f'"{what}";q={limit};w=60',
            "RateLimit": f'"{what}";r=0;t={wait}',
        },
    )


def used_up(key: ApiKey, calls: int, size: int) -> Refusal:
    begins = (month_start() + datetime.timedelta(days=32)).replace(day=1)
    when = f"It begins anew on {begins:%Y-%m-%d} at 00:00 UTC; ask your administrator for more before that."
    if key.monthly_requests is not None and calls >= key.monthly_requests:
        what = f"has made the {key.monthly_requests:,} calls that it may make in a month"
        return forbidden("monthly_requests", f"The API key “{key.name}” {what}. {when}")
    what = f"has moved the {sizes.in_words(key.monthly_bytes or 0)} that it may move in a month"
    return forbidden("monthly_bytes", f"The API key “{key.name}” {what}. {when}")


# What a month began with, and what others count meanwhile

_active: dict[
    int, tuple[str, float]
] = {}  # a key with limits of a month: its month's name, when it last called


def month_so_far(key_ids: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Calls that were answered well and their bytes in this calendar month, by key, as far as the usage log's
    totals know: they lag by some seconds."""
    rows = Q(call_totals__span="day", call_totals__start__gte=month_start(), call_totals__status_class__lt=4)
    size = F("call_totals__bytes_in") + F("call_totals__bytes_out")
    sums = ApiKey.objects.filter(pk__in=list(key_ids)).annotate(
        month_calls=Sum("call_totals__calls", filter=rows, default=0),
        month_size=Sum(size, filter=rows, default=0),
    )
    found = sums.order_by().values_list("pk", "month_calls", "month_size")
    return {pk: (int(calls), int(size)) for pk, calls, size in found}


def seed(key: ApiKey, month: str) -> None:
    """Begin to count a key's month; from nothing if PostgreSQL is away, until `refresh` knows better."""
    try:
        calls, size = month_so_far([key.pk])[key.pk]
    except (*DATABASE_ERRORS, KeyError) as error:
        logger.warning("month_not_known", extra={"key_id": key.public_id, "error": type(error).__name__})
        calls = size = 0
    counters().raise_to(month, calls, size)


def refresh() -> None:
    """Raise the counters of keys that called lately to what the usage log knows of them."""
    now = time.monotonic()
    for pk, (_, at) in list(_active.items()):
        if now - at > FORGET_SECONDS:
            _active.pop(pk, None)
    if not _active:
        return
    months = {pk: month for pk, (month, _) in list(_active.items())}
    this_month = f"{month_start():%Y-%m}"
    for pk, (calls, size) in month_so_far(months).items():
        if months[pk].endswith(this_month):
            counters().raise_to(months[pk], calls, size)


class Refresher(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="limits", daemon=True)

    def run(self) -> None:
        while True:
            time.sleep(REFRESH_SECONDS)
            try:
                refresh()
            except DATABASE_ERRORS as error:
                logger.warning("months_not_refreshed", extra={"error": type(error).__name__})
            finally:
                connection.close()


@cache
def start() -> None:
    """Begin to refresh in the background; once for each process."""
    Refresher().start()


# For pages and health


@dataclass(frozen=True, kw_only=True)
class Use:
    """What is used of one limit; `limit` None: there is none."""

    used: int
    limit: int | None

    @property
    def percent(self) -> int | None:
        """0 to 100, for a bar; None without a limit."""
        return None if self.limit is None else min(100, self.used * 100 // self.limit)


@dataclass(frozen=True, kw_only=True)
class Used:
    """A key's limits now. `minute` and `transfers` count the last minute's calls, artifact transfers apart, in
    this process unless Redis counts for all; the month is the calendar's, in UTC."""

    minute: Use
    transfers: Use
    month_requests: Use
    month_bytes: Use


def used(key: ApiKey) -> Used:
    """What the key has used now, for pages: one query."""
    requests, size = months([key])[key.pk]
    limit = per_minute(key)

    def minute(*, is_transfer: bool) -> Use:
        name = minute_name(key.public_id, is_transfer=is_transfer)
        return Use(used=counters().read_minute(name, limit).used, limit=limit)

    return Used(
        minute=minute(is_transfer=False),
        transfers=minute(is_transfer=True),
        month_requests=requests,
        month_bytes=size,
    )


def months(keys: Collection[ApiKey]) -> dict[int, tuple[Use, Use]]:
    """The calls and bytes of the calendar month as the limits count them, by key: one query."""
    logged, found = month_so_far(key.pk for key in keys), {}
    for key in keys:
        calls, size = logged.get(key.pk, (0, 0))
        if counted := counters().read_month(month_name(key)):
            calls, size = max(calls, counted[0]), max(size, counted[1])
        found[key.pk] = (
            Use(used=calls, limit=key.monthly_requests),
            Use(used=size, limit=key.monthly_bytes),
        )
    return found


def is_shared() -> bool | None:
    """Whether Redis answers now; None if there is none to ask."""
    redis = counters().redis
    if redis is None:
        return None
    try:
        redis.ping()
    except Away:
        return False
    return True
