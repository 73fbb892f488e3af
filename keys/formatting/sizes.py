"""Amounts of bytes as people write and read them. Pure."""

import re

UNITS = ("", "K", "M", "G", "T", "P")  # each 1024 of the one before, as in `ls -h`


def parse(text: str) -> int:
    """`10G` as a number of bytes. Raises ValueError, whose words say how it is written."""
    match = re.fullmatch(
        r"([0-9]{1,15})(?:\.([0-9]{1,3}))?\s*([KMGTP]?)(?:i?B)?", text.strip(), re.IGNORECASE
    )
    if match is None:
        raise ValueError(f"“{text}” is no amount of bytes; write 500M, 10G or 1.5T (1G is 2^30 bytes)")
    whole, part, unit = match[1], match[2] or "", match[3].upper()
    scale: int = 1024 ** UNITS.index(unit)
    return int(whole + part) * scale // int(10 ** len(part))


def written(count: int) -> str:
    """`count` as `parse` reads it, with nothing lost: `10G`, `1536`."""
    unit = 0
    while count and count % 1024 == 0 and unit < len(UNITS) - 1:
        count, unit = count // 1024, unit + 1
    return f"{count}{UNITS[unit]}"


def in_words(count: int) -> str:
    """`10737418240` as `10 GiB`; three digits are enough to compare by eye."""
    size, unit = float(count), 0
    while size >= 999.5 and unit < len(UNITS) - 1:
        size, unit = size / 1024, unit + 1
    if not unit:
        return f"{count} bytes"
    return f"{size:.3g} {UNITS[unit]}iB"
