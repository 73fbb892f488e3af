"""Durations and times as people write them. Pure."""

import datetime
import re

from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(text: str) -> datetime.timedelta:
    """The duration that `30m`, `12h`, `90d` or `4w` means. Raises ValueError."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([mhdw])", text)
    if match is None:
        raise ValueError(f"“{text}” is no time; write 30m, 12h, 90d or 4w")
    return datetime.timedelta(**{UNITS[match[2]]: int(match[1])})


def parse_time(text: str) -> datetime.datetime:
    """The time that `2026-11-23`, `2026-11-23T14:30` (UTC) or `12h` (before now) means. Raises ValueError."""
    if text[-1:] in UNITS and text[:-1].isdigit():
        return timezone.now() - parse_duration(text)
    try:
        day, time = parse_date(text), parse_datetime(text)
    except ValueError:
        day = time = None
    if time is None and day is not None:
        time = datetime.datetime.combine(day, datetime.time())
    if time is None:
        raise ValueError(f"“{text}” is no time; write 2026-11-23, 2026-11-23T14:30 or 12h")
    return time if time.tzinfo else time.replace(tzinfo=datetime.UTC)
