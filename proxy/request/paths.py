"""The path of a request: decoded once, checked, matched and forwarded in that one form. Pure.

MLflow routes on the decoded path, so the portal checks the decoded path. It refuses a path that two programs could
read differently: the path that was checked is the path that is forwarded.
"""

import re
from urllib.parse import quote

from keys.refusals import invalid

# RFC 3986 unreserved characters, sub-delims and the other characters of a segment; ";" is refused before.
SAFE = "/-._~!$&'()*+,=:@"
FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\;]")
NOT_VISIBLE = re.compile(r"[^\x21-\x7e]")
# Escapes that are left after decoding: Django encodes bytes that are not UTF-8 again, and MLflow decodes artifact paths
# repeatedly (mlflow.utils.uri.validate_path_is_safe), so that it would act on a path that the portal did not check.
STILL_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
DOT_SEGMENT = re.compile(r"(?:^|/)\.{1,2}(?:/|$)")


def decode(path: str) -> str:
    """The path from Django's PATH_INFO, checked.

    Raises Refusal (400) unless it is UTF-8 without control characters, backslashes, semicolons, empty or
    dot segments, and was percent-encoded at most once.
    """
    if STILL_ENCODED.search(path):
        raise bad_path("it is not UTF-8, or is percent-encoded twice")
    if FORBIDDEN.search(path):
        raise bad_path("it contains a control character, a backslash or a semicolon")
    if "//" in path:
        raise bad_path(
            "it contains an empty segment (“//”); check whether the tracking URI ends with a slash"
        )
    if DOT_SEGMENT.search(path):
        raise bad_path("it contains a dot segment (“.” or “..”)")
    return path


def encode(path: str) -> str:
    """`path` percent-encoded for the request line; decodes to exactly `path`."""
    return quote(path, safe=SAFE)


def check_target(target: str) -> None:
    """Raises Refusal (400) for a request line's target with raw control characters, which Python's urlsplit drops, or
    with raw bytes beyond ASCII, which servers read in different ways."""
    if NOT_VISIBLE.search(target):
        raise invalid(
            "bad_path", "The address contains bytes that must be percent-encoded. Encode them (RFC 3986)."
        )


def check_query(query: str) -> str:
    """The query string, unchanged. Raises Refusal (400) for raw bytes that a request line must not contain."""
    if not query.isascii() or any(character <= " " or character == "\x7f" for character in query):
        raise invalid(
            "bad_query",
            "The query string contains bytes that must be percent-encoded. Encode them (RFC 3986).",
        )
    return query


def bad_path(problem: str) -> Exception:
    return invalid(
        "bad_path",
        f"The path was not forwarded: {problem}. Correct it; percent-encoding makes no difference.",
    )
