"""Reads the credential from a request's headers, in each of the forms that clients send. Pure.

A front gateway may add a credential of its own, such as a JWT. Beside a key of ours, it is ignored.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from keys.credentials.tokens import KEY_LIKE_PATTERN
from keys.refusals import Refusal, invalid, unauthenticated

HOW_TO_SEND_A_KEY = (
    "Send your API key as 'Authorization: Bearer hk_…' (MLFLOW_TRACKING_TOKEN in MLflow's client)"
)
OVERRIDES = "MLFLOW_TRACKING_USERNAME, a password in the tracking URI or an entry in ~/.netrc overrides it"
NAMES = (("HTTP_AUTHORIZATION", "Authorization"), ("HTTP_X_API_KEY", "X-API-Key"))
SCHEMES = ("bearer", "apikey", "basic")
OUR_START = re.compile(r"hk_(?:live|test)_")
SEARCHED = 8192  # characters in which a key is looked for
QUOTES, BRACKETS = "\"'`“”‘’", "<>{}[]()$"


@dataclass(frozen=True, kw_only=True)
class Credential:
    """What a header carries. `scheme` is in lower case, "" in X-API-Key; `text` is what follows it, of Basic the
    password; `refusal` is what to say if there is no better credential."""

    scheme: str
    text: str
    refusal: Refusal | None = None

    @property
    def is_ours(self) -> bool:
        """Whether it was meant to be a key of the portal's."""
        return self.text.startswith("hk_") or OUR_START.search(self.text) is not None

    @property
    def is_basic(self) -> bool:
        return self.scheme == "basic"


def read_credential(meta: Mapping[str, str]) -> Credential:
    """The one credential in the headers (`meta`: WSGI names): the key of ours, if there is one.

    Raises Refusal: 401 without a credential and for a malformed one, 400 for two.
    """
    sent = {header: list(read_header(name, meta)) for name, header in NAMES}
    ours = {header: [each for each in credentials if each.is_ours] for header, credentials in sent.items()}
    used = ours if any(ours.values()) else sent
    for header, credentials in used.items():
        if len(credentials) > 1:
            raise invalid("two_credentials", f"Two {header} headers were sent. Send only one of them.")
    found = [credential for credentials in used.values() for credential in credentials]
    if not found:
        raise unauthenticated("no_key", f"No API key was sent. {HOW_TO_SEND_A_KEY}.")
    for credential in found:
        if credential.refusal:
            raise credential.refusal
    if len({credential.text for credential in found}) > 1:
        raise invalid(
            "two_credentials",
            "Two different credentials were sent (Authorization and X-API-Key). Send only one of them.",
        )
    return found[0]


def carries_own_key(meta: Mapping[str, str]) -> bool:
    """Whether a credential is meant for the portal, if only as a malformed key."""
    return any(credential.is_ours for name, _ in NAMES for credential in read_header(name, meta))


def read_header(name: str, meta: Mapping[str, str]) -> Iterator[Credential]:
    """The credentials in one header. WSGI joins several headers of one name with commas, which no credential of ours
    contains."""
    value = meta.get(name, "").strip()
    if not value:
        return
    scheme = value.partition(" ")[0].lower()
    if name == "HTTP_AUTHORIZATION" and scheme not in SCHEMES and not KEY_LIKE_PATTERN.search(value):
        yield Credential(
            scheme=scheme, text="", refusal=unknown_scheme()
        )  # such as AWS4-HMAC-SHA256, with commas
        return
    for part in value.split(","):
        yield read_authorization(part.strip()) if name == "HTTP_AUTHORIZATION" else read_key("", part.strip())


def read_authorization(value: str) -> Credential:
    scheme, _, rest = value.partition(" ")
    scheme, rest = scheme.lower(), rest.strip()
    if scheme == "basic":
        return read_basic(rest)
    if scheme in SCHEMES:
        if not rest:
            problem = f"The Authorization header contains no key. {HOW_TO_SEND_A_KEY}."
            return Credential(scheme=scheme, text="", refusal=unauthenticated("no_key", problem))
        return read_key(scheme, rest)
    return Credential(scheme=scheme, text=value, refusal=unknown_scheme(value))


def unknown_scheme(value: str = "") -> Refusal:
    """The refusal of an Authorization header that begins with none of the three schemes."""
    start = value[: match.start()] if (match := OUR_START.search(value)) else value
    if match and not start.strip(QUOTES):
        problem = "contains the key without a scheme; write Bearer, ApiKey or Basic and a space in front"
    elif match and re.fullmatch(r"(bearer|apikey)(%20|\+)+", start, re.IGNORECASE):
        problem = "is URL-encoded; write a space after Bearer, ApiKey or Basic, not %20 or +"
    elif match and re.fullmatch(r"(bearer|apikey)\W*", start.strip(QUOTES), re.IGNORECASE):
        problem = (
            "must be only the scheme (Bearer, ApiKey or Basic), a space and the key: no quotes, no colon"
        )
    else:
        problem = "has a scheme that is not Bearer, ApiKey or Basic"
    return unauthenticated("unknown_scheme", f"The Authorization header {problem}. {HOW_TO_SEND_A_KEY}.")


def read_basic(value: str) -> Credential:
    """The password in a Basic credential (RFC 7617). MLflow's client sends one instead of its token if it finds a
    user name, a netrc entry, or a password in the tracking URI."""
    try:
        decoded = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        problem = f"The Basic credential is not valid base64 (RFC 7617). {HOW_TO_SEND_A_KEY}."
        text = value if OUR_START.search(value) else ""
        return Credential(scheme="basic", text=text, refusal=unauthenticated("bad_basic", problem))
    user, _, password = decoded.partition(":")
    if password:
        return read_key("basic", password)
    problem = (
        "The Basic credential contains no password. Send the API key as the password (with any user name)"
    )
    if OUR_START.search(user):
        problem = "The Basic credential has the API key as its user name. Send it as the password (with any user name)"
    problem += ", or set MLFLOW_TRACKING_TOKEN and unset MLFLOW_TRACKING_USERNAME."
    return Credential(scheme="basic", text=user, refusal=unauthenticated("no_key", problem))


def read_key(scheme: str, text: str) -> Credential:
    problem = describe_form(scheme, text)
    refusal = unauthenticated("malformed_key", f"{problem}. {HOW_TO_SEND_A_KEY}.") if problem else None
    return Credential(scheme=scheme, text=text, refusal=refusal)


def describe_form(scheme: str, text: str) -> str:
    """What is wrong around a whole key in `text`; "" if nothing is, or if its beginning has none."""
    match = KEY_LIKE_PATTERN.search(text, 0, SEARCHED)
    if match is None or match[0] == text:
        return ""
    around = text[: match.start()] + text[match.end() :]
    if re.match(r"\s*(bearer|apikey|basic|token)\b", text[: match.start()], re.IGNORECASE):
        where = "MLFLOW_TRACKING_TOKEN takes the key alone" if scheme else "X-API-Key takes the key alone"
        return f"A scheme such as Bearer is sent as part of the key. {where}"
    if set(around) <= set(QUOTES):
        return "The key is in quotes. Remove them"
    if set(around) <= set(BRACKETS):
        return "The key is in brackets. Remove them"
    if not around.strip() or around in (r"\n", r"\r\n", "%0A", "%0D%0A"):
        return "The key has a line break or a space around it. Remove it"
    return ""
