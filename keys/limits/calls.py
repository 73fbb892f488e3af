"""Check a call against its caller's limits, and count it."""

from typing import NamedTuple

from keys.credentials.caller import Caller
from keys.limits import counters, month_limits
from keys.limits.minute_limits import minute_limit, minute_name, too_many_calls

ENDED_A_MINUTE = 60  # calls in the usage log, for each key that has ended
REFUSED_A_MINUTE = (
    5  # calls over the limit of a minute in the usage log, for each key; the rest is only counted
)


class CountedCall(NamedTuple):
    """A call that is counted in a month with limits. `finalise` corrects the count at its end."""

    month: str

    def finalise(self, *, calls: int, byte_count: int) -> None:
        """Add these calls (-1 takes the call back) and bytes."""
        if calls or byte_count:
            counters.get_counters().add_to_month(self.month, calls, byte_count)


def count_call(caller: Caller, *, is_transfer: bool) -> CountedCall | None:
    """Count a call before it is served. Returns what to finalise at its end, None for a key without monthly limits.

    Raises Refusal: 429 above the limit of a minute, 403 above a limit of the month.
    """
    key, counting = caller.key, counters.get_counters()
    limit = minute_limit(key)
    name = minute_name(key.public_id if key else caller.user.public_id, is_transfer=is_transfer)
    if not counting.hit(name, limit):
        raise too_many_calls(caller, limit, counting.read_minute(name, limit), is_transfer=is_transfer)
    if key is None:
        return None
    highest = {"max_calls": key.monthly_requests, "max_bytes": month_limits.bytes_limit(key)}
    if set(highest.values()) == {None}:
        return None
    month = month_limits.month_name(key)
    month_limits.mark_active(key, month)
    is_counted = counting.count_in_month(month, **highest)
    if is_counted is None:
        month_limits.seed_month(key, month)
        is_counted = counting.count_in_month(month, **highest)
    if is_counted is False:
        calls, _ = counting.read_month(month) or (0, 0)
        raise month_limits.month_used_up(key, calls)
    return CountedCall(month)


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
