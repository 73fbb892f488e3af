"""Numbers of bytes as people write and read them: powers of 1024. Pure."""

import re

UNITS = ("", "K", "M", "G", "T", "P")  # each 1024 of the one before, as in `ls -h`


def parse_size(text: str) -> int:
    """The number of bytes that `10G` means. Raises ValueError with a text for the user."""
    match = re.fullmatch(
        r"([0-9]{1,15})(?:\.([0-9]{1,3}))?\s*([KMGTP]?)(?:i?B)?", text.strip(), re.IGNORECASE
    )
    if match is None:
        raise ValueError(f"“{text}” is not a size; write 500M, 10G or 1.5T (1G is 2^30 bytes)")
    whole, part, unit = match[1], match[2] or "", match[3].upper()
    scale: int = 1024 ** UNITS.index(unit)
    return int(whole + part) * scale // int(10 ** len(part))


def write_size(count: int) -> str:
    """The text that `parse_size` reads as exactly this number: `10G`, `1536`."""
    unit = 0
    while count and count % 1024 == 0 and unit < len(UNITS) - 1:
        count, unit = count // 1024, unit + 1
    return f"{count}{UNITS[unit]}"


def format_size(count: int) -> str:
    """`10737418240` as `10 GiB`, with three significant digits."""
    size, unit = float(count), 0
    while size >= 999.5 and unit < len(UNITS) - 1:
        size, unit = size / 1024, unit + 1
    if not unit:
        return f"{count} bytes"
    return f"{size:.3g} {UNITS[unit]}iB"
