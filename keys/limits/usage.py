"""How much of their limits keys have used, for pages and the API."""

from collections.abc import Collection
from dataclasses import dataclass

from keys.limits import counters, month_limits
from keys.limits.minute_limits import minute_limit, minute_name, organisation_name
from keys.models import ApiKey, Organisation


@dataclass(frozen=True, kw_only=True)
class LimitUse:
    """The used part of one limit. `limit` is None if there is none."""

    used: int
    limit: int | None

    @property
    def percent(self) -> int | None:
        """0 to 100, for a bar; None without a limit."""
        return None if self.limit is None else min(100, self.used * 100 // self.limit)


@dataclass(frozen=True, kw_only=True)
class KeyUse:
    """A key's or an organisation's limits now. `minute` and `transfers` count the last minute's calls and
    artifact transfers, in this process unless Redis counts for all; the month is the calendar month in UTC."""

    minute: LimitUse
    transfers: LimitUse
    month_requests: LimitUse
    month_bytes: LimitUse


def read_key_use(key: ApiKey) -> KeyUse:
    """What the key has used now: one query."""
    requests, byte_count = read_month_use([key])[key.pk]
    limit = minute_limit(key)

    def minute(*, is_transfer: bool) -> LimitUse:
        name = minute_name(key.public_id, is_transfer=is_transfer)
        return LimitUse(used=counters.get_counters().read_minute(name, limit).used, limit=limit)

    return KeyUse(
        minute=minute(is_transfer=False),
        transfers=minute(is_transfer=True),
        month_requests=requests,
        month_bytes=byte_count,
    )


def read_organisation_use(organisation: Organisation) -> KeyUse:
    """What all keys of an organisation, and its members' sessions, have used now: one query."""
    calls, byte_count = month_limits.read_logged_months([organisation.pk], Organisation)[organisation.pk]
    if counted := counters.get_counters().read_month(month_limits.month_name(organisation)):
        calls, byte_count = max(calls, counted[0]), max(byte_count, counted[1])
    limit = organisation.requests_per_minute

    def minute(*, is_transfer: bool) -> LimitUse:
        name = minute_name(organisation_name(organisation), is_transfer=is_transfer)
        used = counters.get_counters().read_minute(name, limit).used if limit else 0
        return LimitUse(used=used, limit=limit)

    return KeyUse(
        minute=minute(is_transfer=False),
        transfers=minute(is_transfer=True),
        month_requests=LimitUse(used=calls, limit=organisation.monthly_requests),
        month_bytes=LimitUse(used=byte_count, limit=month_limits.bytes_limit(organisation)),
    )


def read_month_use(keys: Collection[ApiKey]) -> dict[int, tuple[LimitUse, LimitUse]]:
    """The calls and bytes of the calendar month, by key, as the limits count them: one query."""
    logged = month_limits.read_logged_months(key.pk for key in keys)
    uses = {}
    for key in keys:
        calls, byte_count = logged.get(key.pk, (0, 0))
        if counted := counters.get_counters().read_month(month_limits.month_name(key)):
            calls, byte_count = max(calls, counted[0]), max(byte_count, counted[1])
        uses[key.pk] = (
            LimitUse(used=calls, limit=key.monthly_requests),
            LimitUse(used=byte_count, limit=month_limits.bytes_limit(key)),
        )
    return uses
