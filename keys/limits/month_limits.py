"""The limits of a calendar month (UTC): what the usage log has counted, kept up to date in the counters.

The counters of a month begin with the totals of the usage log, and are raised to them every REFRESH_SECONDS, so calls
that other processes counted are missing for at most that long (docs/limits.md).
"""

import datetime
import logging
import threading
import time
from collections.abc import Iterable
from functools import cache

from django.conf import settings
from django.db import connection
from django.db.models import F, Q, Sum
from django.utils import timezone

from keys.database import DATABASE_ERRORS
from keys.formatting import sizes
from keys.limits import counters
from keys.limits.minute_limits import organisation_name
from keys.models import ApiKey, Organisation
from keys.models.api_keys import ApiKeyQuerySet
from keys.refusals import Refusal, forbidden

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 10.0
FORGET_SECONDS = 300.0  # without a call, after which a key is not refreshed any more

Limited = ApiKey | Organisation  # what has limits of a month
# Keys and organisations with monthly limits that called lately: the name of their month, and when they last called.
_active: dict[tuple[type[Limited], int], tuple[str, float]] = {}


def month_name(limited: Limited) -> str:
    name = limited.public_id if isinstance(limited, ApiKey) else organisation_name(limited)
    return f"{name}/{month_start():%Y-%m}"


def bytes_limit(limited: Limited) -> int | None:
    """The bytes that the key, or all keys of the organisation together, may transfer in a month; None for no limit."""
    default = settings.DEFAULT_MONTHLY_BYTES if isinstance(limited, ApiKey) else None
    return limited.monthly_bytes or default or None


def with_limits(keys: ApiKeyQuerySet) -> ApiKeyQuerySet:
    """Of these keys, those that have a monthly limit."""
    return keys if settings.DEFAULT_MONTHLY_BYTES else keys.exclude(monthly_requests=None, monthly_bytes=None)


def month_start() -> datetime.datetime:
    return timezone.now().astimezone(datetime.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def mark_active(limited: Limited, month: str) -> None:
    """Have `refresh` raise the counters of this month."""
    _active[type(limited), limited.pk] = (month, time.monotonic())


def month_used_up(limited: Limited, calls: int) -> Refusal:
    begins = (month_start() + datetime.timedelta(days=32)).replace(day=1)
    when = f"The limit resets on {begins:%Y-%m-%d} at 00:00 UTC; ask your administrator for more before that."
    who = (
        f"The API key “{limited.name}”"
        if isinstance(limited, ApiKey)
        else f"The organisation “{limited.slug}”, with all its keys together,"
    )
    if limited.monthly_requests is not None and calls >= limited.monthly_requests:
        what = f"has made the {limited.monthly_requests:,} calls that it may make in a month"
        return forbidden("monthly_requests", f"{who} {what}. {when}")
    what = (
        f"has transferred the {sizes.format_size(bytes_limit(limited) or 0)} that it may transfer in a month"
    )
    return forbidden("monthly_bytes", f"{who} {what}. {when}")


def read_logged_months(ids: Iterable[int], of: type[Limited] = ApiKey) -> dict[int, tuple[int, int]]:
    """Successful calls and their bytes in this calendar month, by key or organisation, from the totals of the
    usage log, which lag by some seconds."""
    successful = Q(
        call_totals__span="day", call_totals__start__gte=month_start(), call_totals__status_class__lt=4
    )
    byte_count = F("call_totals__bytes_in") + F("call_totals__bytes_out")
    months = dict.fromkeys(ids, (0, 0))
    sums = of._default_manager.filter(successful, pk__in=list(months)).annotate(
        month_calls=Sum("call_totals__calls"), month_bytes=Sum(byte_count)
    )
    rows = sums.order_by().values_list("pk", "month_calls", "month_bytes")
    return months | {pk: (int(calls), int(byte_count)) for pk, calls, byte_count in rows}


def seed_month(limited: Limited, month: str) -> None:
    """Start counting a month. Without PostgreSQL it starts from zero until the next `refresh`."""
    try:
        calls, byte_count = read_logged_months([limited.pk], type(limited))[limited.pk]
    except (*DATABASE_ERRORS, KeyError) as error:
        logger.warning("month_not_known", extra={"month": month, "error": type(error).__name__})
        calls = byte_count = 0
    counters.get_counters().raise_month_to(month, calls, byte_count)


def refresh() -> None:
    """Raise the counters of recently active keys and organisations to the totals of the usage log."""
    now = time.monotonic()
    for each, (_, at) in list(_active.items()):
        if now - at > FORGET_SECONDS:
            _active.pop(each, None)
    this_month = f"{month_start():%Y-%m}"
    kinds: tuple[type[Limited], ...] = (ApiKey, Organisation)
    for kind in kinds:
        months = {pk: month for (of, pk), (month, _) in list(_active.items()) if of is kind}
        for pk, (calls, byte_count) in (read_logged_months(months, kind) if months else {}).items():
            if months[pk].endswith(this_month):
                counters.get_counters().raise_month_to(months[pk], calls, byte_count)


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
def start_refreshing() -> None:
    """Start the refreshing thread, once in each process."""
    Refresher().start()
