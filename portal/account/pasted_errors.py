"""What a pasted error says: the text that MLflow's client, a browser or curl shows, or a reason by itself. Pure."""

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

REQUEST_ID = re.compile(r"req_[0-9a-f]{32}", re.IGNORECASE)
REASON = re.compile(r"[a-z][a-z0-9_]{2,39}")
MARKED_REASON = re.compile(r"""(?:["']reason["']\s*:\s*["']|/errors/#|`)([a-z][a-z0-9_]{2,39})(?:["'`]|\b)""")
# "RestException: PERMISSION_DENIED: The key …", the last line of a traceback of MLflow's client
EXCEPTION = re.compile(r"\b\w*Exception: (?:(?P<code>[A-Z][A-Z_]{3,}): )?(?P<message>.+)", re.DOTALL)
STATUS = re.compile(r"error code (\d{3})\b|\b(\d{3}) (?:Client|Server) Error\b|\bHTTP/[\d.]+ (\d{3})\b")
ADDRESS = re.compile(r"https?://[^\s'\"<>),]+")
ENDPOINT = re.compile(r"(?:endpoint|with url:) (/[^\s'\"<>),]*)")
POOL = re.compile(r"host='(?P<host>[^']+)', port=(?P<port>\d+)")
PORTAL_PATHS = (
    "/api/2.0/",
    "/api/3.0/",
    "/ajax-api/",
    "/version",
    "/v1/traces",
)  # MLflow's, below a tracking URI
MOST_OBJECTS = 20  # JSON objects that are looked for in a text

# By what the client's text contains: what happened, before any request reached MLflow or the portal.
UNREACHED = {
    ("NameResolutionError", "Name or service not known", "getaddrinfo failed", "nodename nor servname"): (
        "The name of the host in the tracking URI does not exist.",
        "Correct the host's name in the tracking URI, or connect to the network in which the name is known.",
    ),
    ("CERTIFICATE_VERIFY_FAILED", "SSLError", "SSLCertVerificationError"): (
        "The client does not trust the certificate of the host, so it sent nothing.",
        "Use the name for which the certificate was issued, and give the client your company's certificate authority "
        "with `REQUESTS_CA_BUNDLE`.",
    ),
    ("Connection refused", "NewConnectionError", "Errno 111"): (
        "Nothing listens at the host and port of the tracking URI.",
        "Correct host and port in the tracking URI. If they are right, the portal is down: tell your administrator.",
    ),
    ("Read timed out", "ConnectTimeout", "ReadTimeout", "timed out"): (
        "The client waited for a response until its timeout.",
        "Try again. If it happens again, tell your administrator the time and the operation.",
    ),
    ("Max retries exceeded", "RemoteDisconnected", "Connection aborted", "too many 5"): (
        "The client got no usable response, and gave up after several attempts.",
        "Set `MLFLOW_HTTP_REQUEST_MAX_RETRIES=1` and repeat the call to see the error itself.",
    ),
}


@dataclass(frozen=True, kw_only=True)
class PastedError:
    """What a text contains of an error; each part is empty if the text lacks it."""

    request_id: str = ""
    reason: str = ""
    error_code: str = ""
    status: int | None = None
    message: str = ""  # of the error itself, without the client's wrapping
    address: str = ""  # to which the client sent the request
    unreached: tuple[str, str] | None = None


def parse(text: str) -> PastedError:
    """The parts of a pasted error. Any text is accepted."""
    text = without_markup(text)
    content = error_object(text)
    exception = EXCEPTION.search(text)
    status = STATUS.search(text)
    request_id = REQUEST_ID.search(text)
    code = str(content.get("error_code") or (exception["code"] if exception else "") or "")
    message = content.get("message") or content.get("detail") or (exception["message"] if exception else "")
    return PastedError(
        request_id=request_id[0].lower() if request_id else "",
        reason=find_reason(text, content),
        error_code=code[:60],
        status=content.get("status") if isinstance(content.get("status"), int) else first_number(status),
        message=" ".join(str(message).split())[:1000],
        address=find_address(text),
        unreached=next(
            (words for signs, words in UNREACHED.items() if any(sign in text for sign in signs)), None
        ),
    )


def without_markup(text: str) -> str:
    """A page as its text."""
    if re.search(r"<(?:!doctype|html|body|head)\b", text, re.IGNORECASE):
        text = re.sub(r"<(style|script)\b.*?</\1>", " ", text, flags=re.DOTALL | re.IGNORECASE)
        text = html.unescape(re.sub(r"<[^<>]*>", " ", text))
    return text.strip()


def error_object(text: str) -> dict[str, Any]:
    """The first JSON object in the text that describes an error."""
    for candidate in json_objects(text):
        if any(isinstance(candidate.get(name), str) for name in ("error_code", "reason", "request_id")):
            return candidate
    return {}


def json_objects(text: str) -> Iterator[dict[str, Any]]:
    decoder, start = json.JSONDecoder(strict=False), -1
    for _ in range(MOST_OBJECTS):
        start = text.find("{", start + 1)
        if start < 0:
            return
        try:
            found, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            yield found


def find_reason(text: str, content: dict[str, Any]) -> str:
    """A reason: the text itself, or where a text names one as such."""
    if REASON.fullmatch(text):
        return text
    named = content.get("reason")
    if isinstance(named, str) and REASON.fullmatch(named):
        return named
    marked = MARKED_REASON.search(text)
    return marked[1] if marked else ""


def first_number(match: re.Match[str] | None) -> int | None:
    return next((int(group) for group in match.groups() if group), None) if match else None


def find_address(text: str) -> str:
    """The address to which the client sent the request, as far as the text names it; without the query."""
    endpoint, pool = ENDPOINT.search(text), POOL.search(text)
    for match in ADDRESS.finditer(text):
        address = match[0].partition("?")[0].rstrip(".,;:")
        if any(part in address for part in PORTAL_PATHS):
            return address
    path = endpoint[1].partition("?")[0] if endpoint else ""
    if pool:
        scheme = "https" if "HTTPSConnectionPool" in text else "http"
        return f"{scheme}://{pool['host']}:{pool['port']}{path}"
    return path
