"""The path of a request: decoded once, checked, matched and forwarded in that one form. Pure.

MLflow routes on the decoded path, so the portal checks the decoded path. It refuses a path that two programs could
read differently: the path that was checked is the path that is forwarded.
"""

import re
from urllib.parse import quote, unquote_to_bytes, urlsplit

from keys.refusals import invalid

# RFC 3986 unreserved characters, sub-delims and the other characters of a segment; ";" is encoded.
SAFE = "/-._~!$&'()*+,=:@"
FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
NOT_VISIBLE = re.compile(r"[^\x21-\x7e]")
# Escapes that are left after decoding: Django encodes bytes that are not UTF-8 again, and MLflow decodes artifact paths
# repeatedly (mlflow.utils.uri.validate_path_is_safe), so that it would act on a path that the portal did not check.
STILL_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
# The paths whose end is the name of a file, with or without the portal's mount.
ARTIFACT = re.compile(
    r"(?:/api/mlflow|/mlflow)?(?:/w/[^/]+)?/(?:ajax-)?api/2\.0/mlflow-artifacts/"
    r"(?:artifacts|presigned|mpu/(?:create|complete|abort))/"
)
DOT_SEGMENT = re.compile(r"(?:^|/)\.{1,2}(?:/|$)")


def decode(path: str, target: str = "") -> str:
    """The path from Django's PATH_INFO, checked. `target` is the request line's, "" if it is not known.

    Raises Refusal (400) unless it is UTF-8 without control characters, backslashes, empty or dot segments, and was
    percent-encoded at most once. Only a file's name may contain a semicolon or a percent sign before two digits
    (`proxy.request.artifact_paths` decides which).
    """
    artifact = ARTIFACT.match(path)
    fixed = artifact[0] if artifact else path
    if STILL_ENCODED.search(fixed) or (STILL_ENCODED.search(path) and not is_encoded_once(path, target)):
        raise bad_path("it is not UTF-8, or is percent-encoded twice")
    if FORBIDDEN.search(path) or ";" in fixed:
        raise bad_path("it contains a control character, a backslash or a semicolon")
    if "//" in path:
        raise bad_path(
            "it contains an empty segment (“//”); check whether the tracking URI ends with a slash"
        )
    if DOT_SEGMENT.search(path):
        raise bad_path("it contains a dot segment (“.” or “..”)")
    return path


def is_encoded_once(path: str, target: str) -> bool:
    """Whether the path in a request line's target decodes to `path` as UTF-8. Django encodes bytes that are not UTF-8
    again, which then look like a name with a percent sign."""
    raw = target if target.startswith("/") else urlsplit(target).path
    try:
        return unquote_to_bytes(raw.partition("?")[0]).decode("utf-8") == path
    except UnicodeDecodeError:
        return False


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
