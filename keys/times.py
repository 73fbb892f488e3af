"""Times as people write them. Pure."""

import datetime
import re

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def lasting(text: str) -> datetime.timedelta:
    """How long `30m`, `12h`, `90d` or `4w` is. Raises ValueError."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([mhdw])", text)
    if match is None:
        raise ValueError(f"“{text}” is no time; write 30m, 12h, 90d or 4w")
    return datetime.timedelta(**{UNITS[match[2]]: int(match[1])})
