"""The path of a request: decoded once, checked, matched and forwarded in that one form. Pure.

MLflow routes on the decoded path (`experiments%2Fget` reaches it), so that is what must be judged. Whatever
could mean two things to two readers is refused: what was checked is what is forwarded.
"""

import re
from urllib.parse import quote

from keys.refusals import invalid

# RFC 3986 unreserved characters, sub-delims and what else may stand in a segment; ";" is refused before.
SAFE = "/-._~!$&'()*+,=:@"
FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\;]")
NOT_VISIBLE = re.compile(r"[^\x21-\x7e]")
# Left after decoding: Django encodes again what is not UTF-8, and MLflow decodes the paths of artifacts until
# nothing changes (mlflow.utils.uri.validate_path_is_safe), so `%252e` would be a dot to it and none to us.
STILL_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
DOT_SEGMENT = re.compile(r"(?:^|/)\.{1,2}(?:/|$)")


def decode(path: str) -> str:
    """The path, checked, from Django's PATH_INFO: text, of which only what is not UTF-8 is still encoded.

    Raises Refusal (400) unless it is UTF-8 without control characters, backslashes, semicolons, empty or
    dot segments, and encoded no more than once.
    """
    if STILL_ENCODED.search(path):
        raise bad_path("it is not UTF-8, or is percent-encoded twice")
    if FORBIDDEN.search(path):
        raise bad_path("it holds a control character, a backslash or a semicolon")
    if "//" in path:
        raise bad_path("it holds an empty segment (“//”); see whether the tracking URI ends with a slash")
    if DOT_SEGMENT.search(path):
        raise bad_path("it holds a dot segment (“.” or “..”)")
    return path


def encode(path: str) -> str:
    """`path` percent-encoded again for the request line; decodes to exactly `path`."""
    return quote(path, safe=SAFE)


def check_target(target: str) -> None:
    """Raises Refusal (400) for a request line's target with raw controls, which Python's urlsplit drops, or
    raw bytes beyond ASCII, which servers read in different ways."""
    if NOT_VISIBLE.search(target):
        raise invalid("bad_path", "The address holds bytes that must be percent-encoded (RFC 3986).")


def check_query(query: str) -> str:
    """The query string as it came. Raises Refusal (400) for raw bytes that no request line may hold."""
    if not query.isascii() or any(character <= " " or character == "\x7f" for character in query):
        raise invalid("bad_query", "The query string holds bytes that must be percent-encoded (RFC 3986).")
    return query


def bad_path(problem: str) -> Exception:
    return invalid(
        "bad_path", f"The path was not forwarded: {problem}. Percent-encoding it makes no difference."
    )
