"""Limits of calls and bytes, by the minute and by the calendar month.

Calls and bytes are counted in Redis if REDIS_URL names one, else in this process, which is exact for a single process.
"""

from keys.limits.calls import CountedCall as CountedCall
from keys.limits.calls import count_call as count_call
from keys.limits.calls import may_log_ended_key as may_log_ended_key
from keys.limits.calls import may_log_refused_call as may_log_refused_call
from keys.limits.counters import redis_problem as redis_problem
from keys.limits.month_limits import start_refreshing as start_refreshing
from keys.limits.month_limits import with_limits as with_limits
from keys.limits.usage import KeyUse as KeyUse
from keys.limits.usage import LimitUse as LimitUse
from keys.limits.usage import read_key_use as read_key_use
from keys.limits.usage import read_month_use as read_month_use
from keys.limits.usage import read_organisation_use as read_organisation_use
