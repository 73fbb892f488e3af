"""Counts the values of a JSON text before it is parsed, because a parsed value takes far more memory than its bytes.

Pure.
"""

from itertools import accumulate

from keys.refusals import Refusal
from proxy.routes.limits import DEPTH

SMALL = 16 * 1024  # bytes; so much is parsed without a count
SLICE = 256 * 1024  # bytes; between two slices other threads can run
BRACKETS, SEPARATORS = b"[{]}", b",:"
OTHERS = bytes(range(256)).translate(None, BRACKETS + SEPARATORS + b'"')
STEPS = bytes.maketrans(BRACKETS, b"\x01\x01\xff\xff")  # 1 and -1 as signed bytes


def check(content: bytes, *, most: int) -> None:
    """Raise Refusal (413) for more than `most` brackets, commas and colons outside of strings, and RecursionError for
    a nesting deeper than DEPTH. Invalid JSON may pass; the parser refuses it."""
    if len(content) <= SMALL:
        return
    count = depth = 0
    is_inside = False  # of a string
    start = 0
    while start < len(content):
        end = min(start + SLICE, len(content))
        while (
            end < len(content) and content[end - 1] == 0x5C
        ):  # do not separate a backslash from what it escapes
            end += 1
        piece = content[start:end].replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, OTHERS)
        parts = piece.split(b'"')
        marks = b"".join(parts[is_inside::2])
        is_inside ^= len(parts) % 2 == 0
        count += len(marks)
        depth, deepest = follow(memoryview(marks.translate(STEPS, SEPARATORS)).cast("b"), depth)
        if deepest > DEPTH:
            raise RecursionError
        if count > most:
            raise too_complex(most)
        start = end


def follow(steps: memoryview, depth: int) -> tuple[int, int]:
    """The depth after these steps, and the greatest on the way."""
    reached = list(accumulate(steps, initial=depth))
    return reached[-1], max(reached)


def too_complex(most: int) -> Refusal:
    return Refusal(
        status=413,
        error_code="RESOURCE_EXHAUSTED",
        reason="body_too_complex",
        message=f"The JSON has more than {most:,} brackets, commas and colons, which is the limit for one call. "
        "Send several smaller calls.",
    )
