"""Times as the pages show them: in UTC, with the zone. Pure."""

import datetime
from typing import Any

# For a time in a request: without its zone, the sender and the portal may mean different times.
FORMS = "2026-12-05T14:30:00Z, or with an offset 2026-12-05T14:30:00+01:00 (in a URL, encode the plus sign)"
NO_ZONE = f"This time has no zone. Write {FORMS}."
NO_TIME = f"This is no time. Write {FORMS}."

# Below how many of it a unit is used, its name, and how many seconds it has.
UNITS = (
    (60, "minute", 60),
    (48, "hour", 3600),
    (121, "day", 86_400),
    (24, "month", 30 * 86_400),
    (float("inf"), "year", 365 * 86_400),
)


def format_time(at: datetime.datetime | None, *, otherwise: str = "-") -> str:
    """To the minute: "2026-11-23 18:05 UTC"."""
    return f"{utc(at):%Y-%m-%d %H:%M} UTC" if at else otherwise


def format_exact_time(at: datetime.datetime | None, *, otherwise: str = "-") -> str:
    """To the second: "2026-11-23 18:05:31 UTC"."""
    return f"{utc(at):%Y-%m-%d %H:%M:%S} UTC" if at else otherwise


def format_rfc3339(at: datetime.datetime) -> str:
    """As JSON has it: "2026-11-23T18:05:31.250000Z"."""
    return utc(at).replace(tzinfo=None).isoformat() + "Z"


def time_as_json(value: Any) -> str:
    """A time in JSON, for `json.dumps(default=…)`. Raises TypeError for anything else."""
    if isinstance(value, datetime.datetime):
        return format_rfc3339(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def round_duration(seconds: float) -> tuple[int, str]:
    """How many of which unit, the one that is usual for the duration: 59 and "minute".

    `humanize` says "a day" for 47 hours and "3 months" for 90 days: too coarse for the expiry of a key.
    """
    name, size = next((name, size) for limit, name, size in UNITS if round(seconds / size) < limit)
    return round(seconds / size), name


def utc(at: datetime.datetime) -> datetime.datetime:
    return at.astimezone(datetime.UTC)
