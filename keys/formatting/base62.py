"""Numbers and random text in base 62: digits, then upper-case, then lower-case letters. Pure."""

import secrets
import string

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase


def base62(number: int, *, length: int) -> str:
    """`number` in base 62, zero-padded on the left to `length` characters."""
    digits = []
    for _ in range(length):
        number, remainder = divmod(number, 62)
        digits.append(ALPHABET[remainder])
    return "".join(reversed(digits))


def random_base62(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
