"""The header policy for requests and responses. Pure.

MLflow gets only the headers on the list. A header's name arrives in WSGI's form, in which `X_Hokusai_User_Id` and
`X-Hokusai-User-Id` are the same, so no spelling evades the list.
"""

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from keys.credentials.headers import carries_own_key
from keys.credentials.tokens import hide

CREDENTIAL_HEADERS = ("HTTP_AUTHORIZATION", "HTTP_X_API_KEY")

FORWARDED = {
    "CONTENT_TYPE": "Content-Type",
    **{
        "HTTP_" + name.upper().replace("-", "_"): name
        for name in (
            "Accept",
            "Accept-Encoding",
            "Content-Encoding",
            "Range",
            "If-Match",
            "If-None-Match",
            "If-Modified-Since",
            "If-Unmodified-Since",
            "If-Range",
            "User-Agent",
            "X-MLflow-Client-Version",
            "x-mlflow-experiment-id",
            "x-mlflow-run-id",
            "traceparent",
            "tracestate",
        )
    },
}
# RFC 9110 §7.6.1, and headers that reveal more of the server or its browsers than callers need.
DROPPED = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "server",
        "date",
        "set-cookie",
        "set-cookie2",
        "www-authenticate",
        "x-request-id",
        "x-frame-options",
        "via",
        "alt-svc",
    }
)
DROPPED_PREFIXES = ("access-control-", "x-hokusai-", "x-forwarded-")


def carries_key(meta: Mapping[str, str]) -> bool:
    return any(meta.get(name) for name in CREDENTIAL_HEADERS)


def is_browser(meta: Mapping[str, str]) -> bool:
    """Whether a person will read the response: the request accepts HTML and carries no credential, apart from that of
    a gateway: beside the cookie of a session, and on MLflow's pages."""
    may_have_gateway = meta.get("HTTP_COOKIE") or meta.get("PATH_INFO", "").startswith("/mlflow")
    is_program = carries_own_key(meta) if may_have_gateway else carries_key(meta)
    return "text/html" in meta.get("HTTP_ACCEPT", "") and not is_program


def select_forwarded(meta: Mapping[str, str]) -> dict[str, str]:
    """The headers on the list, by their lower-case names, for the decision."""
    return {name.lower(): meta[source] for source, name in FORWARDED.items() if meta.get(source)}


def to_upstream(
    meta: Mapping[str, str], *, user_id: str, key_id: str, request_id: str, address: str, length: int | None
) -> dict[str, str]:
    """The headers for MLflow, except Host and the portal's own credential.

    `length` is the body's in bytes, None for a chunked body or none.
    """
    headers = {name: hide(meta[source]) for source, name in FORWARDED.items() if meta.get(source)}
    if length is not None:
        headers["Content-Length"] = str(length)
    # Without it, MLflow takes a remote caller for a local one, and gives local callers more rights.
    headers["X-Forwarded-For"] = address or "0.0.0.0"  # noqa: S104  an address, not a bind
    headers["X-Hokusai-User-Id"] = user_id
    headers["X-Hokusai-API-Key-Id"] = key_id
    headers["X-Request-ID"] = request_id
    return headers


def to_caller(headers: Iterable[tuple[str, str]], *, upstream: str, mount: str) -> list[tuple[str, str]]:
    """The headers of MLflow's response for the caller, with `Location` pointing into the portal.

    `upstream` is MLflow's base address, `mount` the portal's path in front of MLflow's paths ("" or
    "/api/mlflow" …). The headers that `Connection` names are hop-by-hop, so they are dropped.
    """
    pairs = list(headers)
    named = {
        name.strip().lower()
        for key, value in pairs
        if key.lower() == "connection"
        for name in value.split(",")
    }
    passed = []
    for name, value in pairs:
        lower = name.lower()
        if lower in DROPPED or lower in named or lower.startswith(DROPPED_PREFIXES):
            continue
        if lower in ("location", "content-location"):
            value = location(value, upstream=upstream, mount=mount)
            if not value:
                continue
        passed.append((name, value))
    return passed


def location(value: str, *, upstream: str, mount: str) -> str:
    """A redirect's target for the caller: a path under the portal's mount; "" for any other host, because internal
    addresses must not appear."""
    parts, base = urlsplit(value), urlsplit(upstream)
    if parts.netloc and parts.netloc != base.netloc:
        return ""
    if not parts.path.startswith("/"):
        return value if not parts.scheme else ""
    is_below_base = parts.path == base.path or parts.path.startswith(f"{base.path}/")
    path = parts.path.removeprefix(base.path) if is_below_base else parts.path
    return mount + path + (f"?{parts.query}" if parts.query else "")
