"""How much of its limits a key has used, and the refusal when there is none left."""

import datetime
from dataclasses import dataclass

from django.conf import settings
from django.db.models import F, Sum
from django.utils import timezone

from keys.models import ApiKey
from keys.windows import Windows

windows = Windows()


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
    """A key's limits now. `minute` and `transfers` count the last minute's calls, artifact transfers apart;
    the month is the calendar's, in UTC."""

    minute: Use
    transfers: Use
    month_requests: Use
    month_bytes: Use


def used(key: ApiKey) -> Used:
    """What the key has used now, for pages: one query."""
    requests, size = month_so_far(key.pk)
    minute = per_minute(key)
    return Used(
        minute=Use(used=windows.read(minute_name(key, is_transfer=False)).used, limit=minute),
        transfers=Use(used=windows.read(minute_name(key, is_transfer=True)).used, limit=minute),
        month_requests=Use(used=requests, limit=key.monthly_requests),
        month_bytes=Use(used=size, limit=key.monthly_bytes),
    )


def per_minute(key: ApiKey) -> int:
    limit: int = key.requests_per_minute or settings.DEFAULT_REQUESTS_PER_MINUTE
    return limit


def minute_name(key: ApiKey, *, is_transfer: bool) -> str:
    return f"{key.public_id}/{'transfers' if is_transfer else 'calls'}"


def month_so_far(key_id: int) -> tuple[int, int]:
    """Calls and bytes of this calendar month that the usage log's totals know; they lag by some seconds."""
    start = timezone.now().astimezone(datetime.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    totals = ApiKey(pk=key_id).call_totals.filter(span="day", start__gte=start)
    found = totals.aggregate(calls=Sum("calls"), size=Sum(F("bytes_in") + F("bytes_out")))
    return found["calls"] or 0, found["size"] or 0
