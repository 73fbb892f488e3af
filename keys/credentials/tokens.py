"""The format of an API key: generate, parse, checksum, digest. Pure.

A key is `hk_live_` or `hk_test_`, then 32 base62 characters: 26 random ones (154.8 bits) and the CRC-32 of
everything before it as 6 base62 characters. The checksum lets anybody tell a typo, or text that only looks like a
key, without asking the portal. The database stores the HMAC-SHA-256 of the whole key under a pepper that it does
not contain.
"""

import hashlib
import hmac
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from keys.formatting.base62 import base62, random_base62

ENVIRONMENTS = ("live", "test")
RANDOM_LENGTH = 26
CHECKSUM_LENGTH = 6
KEY_PATTERN = re.compile(r"hk_(live|test)_([0-9A-Za-z]{26})([0-9A-Za-z]{6})")
# Looks like a key, whole or cut short. Used where no key may go unnoticed, such as in query strings.
KEY_LIKE_PATTERN = re.compile(r"hk_(?:live|test)_[0-9A-Za-z]{8,}")
ANY_KEY = re.compile(f"(?=({KEY_PATTERN.pattern}))")  # a lookahead, since matches may overlap
NO_PART_OF_KEY = re.compile(r"[^0-9A-Za-z_]+")
# Other secrets in paths: the links of invitations, of prepared keys and of password resets.
LINK_PATTERN = re.compile(r"hk[ic]_[0-9A-Za-z]{8,}|(?<=password/reset/key/)[^/\s]+")


class InvalidToken(ValueError):
    """The text is not an API key. The message states the mistake and never repeats the text."""


@dataclass(frozen=True, kw_only=True)
class Token:
    """A well-formed key. Its `repr` shows only the prefix and the last four characters."""

    secret: str
    environment: str

    @property
    def prefix(self) -> str:
        """`hk_live_` and the first 4 random characters."""
        return self.secret[:12]

    @property
    def last4(self) -> str:
        return self.secret[-4:]

    def __repr__(self) -> str:
        return f"Token({self.prefix}…{self.last4})"

    __str__ = __repr__


def checksum(text: str) -> str:
    """CRC-32 (ISO-HDLC, as in zlib) of `text` in 6 base62 characters."""
    return base62(zlib.crc32(text.encode()), length=CHECKSUM_LENGTH)


def generate(environment: str = "live") -> Token:
    if environment not in ENVIRONMENTS:
        raise InvalidToken(f"a key's environment is one of {', '.join(ENVIRONMENTS)}")
    body = f"hk_{environment}_{random_base62(RANDOM_LENGTH)}"
    return Token(secret=body + checksum(body), environment=environment)


def parse(text: str) -> Token:
    """The key that `text` is. Raises InvalidToken with the reason if it is none."""
    match = KEY_PATTERN.fullmatch(text)
    if match is None:
        raise InvalidToken(
            "this is not a Hokusai API key: a key is hk_live_ or hk_test_, followed by 32 letters and digits"
        )
    if not hmac.compare_digest(checksum(text[:-CHECKSUM_LENGTH]), text[-CHECKSUM_LENGTH:]):
        raise InvalidToken(
            "this API key is mistyped: its checksum does not match. Copy the whole key again, "
            "without spaces or line breaks"
        )
    return Token(secret=text, environment=match[1])


def parse_first(text: str) -> Token:
    """The first key in a longer text. Raises InvalidToken."""
    match = KEY_PATTERN.search(text)
    return parse(match[0] if match else "")


def hide(text: str) -> str:
    """`text` with everything that looks like a key replaced: people paste keys into paths and client names.

    A key that appears only after percent-decoding, once or twice, is hidden too; the text is then returned decoded.
    If blanks, control characters or punctuation interrupt a whole key, the entire text is replaced.
    """
    if "k" not in text and "%" not in text:  # no pattern can match; most texts of a call end here
        return text
    if holds_broken_key(text):
        return "hk_(hidden)"
    if "%" in text:
        for decoded in (once := unquote(text), unquote(once)):
            if len(KEY_LIKE_PATTERN.findall(decoded)) > len(KEY_LIKE_PATTERN.findall(text)):
                text = decoded
    return LINK_PATTERN.sub("(hidden)", KEY_LIKE_PATTERN.sub("hk_(hidden)", text))


def holds_key(text: str) -> bool:
    """Whether the text contains a whole key with the right checksum."""
    return "hk_" in text and any(
        checksum(match[1][:-CHECKSUM_LENGTH]) == match[1][-CHECKSUM_LENGTH:]
        for match in ANY_KEY.finditer(text)
    )


def holds_broken_key(text: str) -> bool:
    """Whether the text contains a key once all characters that no key contains are removed. Only the checksum
    distinguishes such a key from ordinary words."""
    once = unquote(text) if "%" in text else text
    return any(
        holds_key(NO_PART_OF_KEY.sub("", KEY_PATTERN.sub("", decoded)))
        for decoded in {text, once, unquote(once)}
    )


def digest(token: Token, pepper: str) -> str:
    """HMAC-SHA-256 of the key under `pepper`, as 64 hexadecimal digits."""
    return hmac.new(pepper.encode(), token.secret.encode(), hashlib.sha256).hexdigest()


def digests(token: Token, peppers: Sequence[str]) -> list[str]:
    """The digest under each pepper, newest pepper first: a key issued before a change of peppers is found by an older
    one."""
    return [digest(token, pepper) for pepper in peppers]
