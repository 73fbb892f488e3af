"""Check a call against its caller's limits, and count it."""

from typing import NamedTuple

from keys.credentials.caller import Caller
from keys.limits import counters, month_limits
from keys.limits.minute_limits import minute_limit, minute_name, organisation_name, too_many_calls
from keys.limits.month_limits import Limited

ENDED_A_MINUTE = 60  # calls in the usage log, for each key that has ended
REFUSED_A_MINUTE = (
    5  # calls over the limit of a minute in the usage log, for each key; the rest is only counted
)


class CountedCall(NamedTuple):
    """A call that is counted in months with limits. `finalise` corrects the count at its end."""

    months: tuple[str, ...]

    def finalise(self, *, calls: int, byte_count: int) -> None:
        """Add these calls (-1 takes the call back) and bytes."""
        if calls or byte_count:
            for month in self.months:
                counters.get_counters().add_to_month(month, calls, byte_count)


def count_call(caller: Caller, *, is_transfer: bool) -> CountedCall | None:
    """Count a call before it is served: in the key's minute and month, and in those of its organisation. Returns what
    to finalise at its end, None without monthly limits.

    Raises Refusal: 429 above the limit of a minute, 403 above a limit of the month.
    """
    key, organisation = caller.key, caller.organisation
    name = key.public_id if key else caller.user.public_id
    count_in_minute(str(caller), name, minute_limit(key), is_transfer=is_transfer)
    if limit := organisation.requests_per_minute:
        who = f"The organisation “{organisation.slug}”, with all its keys together,"
        count_in_minute(who, organisation_name(organisation), limit, is_transfer=is_transfer)
    counted = CountedCall(())
    for limited in (key, organisation):
        if limited is not None and (month := count_in_month(limited, counted)):
            counted = CountedCall((*counted.months, month))
    return counted if counted.months else None


def count_in_minute(who: str, name: str, limit: int, *, is_transfer: bool) -> None:
    counting, name = counters.get_counters(), minute_name(name, is_transfer=is_transfer)
    if not counting.hit(name, limit):
        raise too_many_calls(who, limit, counting.read_minute(name, limit), is_transfer=is_transfer)


def count_in_month(limited: Limited, counted: CountedCall) -> str | None:
    """The name of the month in which the call is counted now; None without a monthly limit. A refused call is taken
    back where it is `counted` already."""
    counting = counters.get_counters()
    highest = {"max_calls": limited.monthly_requests, "max_bytes": month_limits.bytes_limit(limited)}
    if set(highest.values()) == {None}:
        return None
    month = month_limits.month_name(limited)
    month_limits.mark_active(limited, month)
    is_counted = counting.count_in_month(month, **highest)
    if is_counted is None:
        month_limits.seed_month(limited, month)
        is_counted = counting.count_in_month(month, **highest)
    if is_counted is False:
        counted.finalise(calls=-1, byte_count=0)
        calls, _ = counting.read_month(month) or (0, 0)
        raise month_limits.month_used_up(limited, calls)
    return month


def may_log_ended_key(caller: Caller) -> bool:
    """Whether a refused call with the real secret of a key that has ended gets a row in the usage log. These calls are
    counted apart, so that they neither fill the log nor use up the limits of the key's other secret."""
    limit = min(ENDED_A_MINUTE, minute_limit(caller.key))
    return counters.get_counters().hit(f"{caller.key_id}/ended", limit)


def may_log_refused_call(caller: Caller, *, is_counted: bool) -> bool:
    """Whether a refused call gets a row in the usage log, or is only counted because it is over the limit of a minute.

    `is_counted`: `count_call` refused it. Otherwise it was refused before that, and is counted now.
    """
    name = caller.key.public_id if caller.key else caller.user.public_id
    counting = counters.get_counters()
    if not is_counted and counting.hit(minute_name(name, is_transfer=False), minute_limit(caller.key)):
        return True
    return counting.hit(f"{name}/refused", REFUSED_A_MINUTE)
