"""Times as the pages show them: one form everywhere, in UTC, and it says so. Pure."""

import datetime

# Below how many of it a unit is used, its name, and how many seconds it has.
UNITS = (
    (60, "minute", 60),
    (48, "hour", 3600),
    (121, "day", 86_400),
    (24, "month", 30 * 86_400),
    (float("inf"), "year", 365 * 86_400),
)


def moment(at: datetime.datetime | None, *, otherwise: str = "-") -> str:
    """To the minute: "2026-11-23 18:05 UTC"."""
    return f"{utc(at):%Y-%m-%d %H:%M} UTC" if at else otherwise


def exactly(at: datetime.datetime | None, *, otherwise: str = "-") -> str:
    """To the second: "2026-11-23 18:05:31 UTC"."""
    return f"{utc(at):%Y-%m-%d %H:%M:%S} UTC" if at else otherwise


def ago(at: datetime.datetime, *, now: datetime.datetime | None = None) -> str:
    """How long before or after now: "3 minutes ago", "in 4 days"; "just now" within a minute."""
    passed = ((now or datetime.datetime.now(datetime.UTC)) - at).total_seconds()
    if abs(passed) < 60:
        return "just now"
    words = lasting(abs(passed))
    return f"{words} ago" if passed > 0 else f"in {words}"


def lasting(seconds: float) -> str:
    """In the unit that people use for so long, rounded: "59 minutes", "47 hours", "90 days"."""
    name, size = next((name, size) for limit, name, size in UNITS if round(seconds / size) < limit)
    count = round(seconds / size)
    return f"{count} {name}{'' if count == 1 else 's'}"


def utc(at: datetime.datetime) -> datetime.datetime:
    return at.astimezone(datetime.UTC)
