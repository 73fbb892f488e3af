"""Reads settings from the environment. An invalid value stops the start with one line that names the setting."""

import ipaddress
import json
import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from keys.formatting.sizes import parse_size

THIS_MACHINE = "this machine"


def invalid(name: str, problem: str) -> SystemExit:
    """The error for an invalid setting, in one line. `problem` must not repeat a value that may be a secret."""
    return SystemExit(f"{name}: {problem}")


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def flag(name: str, *, default: bool = False) -> bool:
    value = text(name, str(default)).lower()
    if value in ("true", "1", "yes", "on"):
        return True
    if value in ("false", "0", "no", "off"):
        return False
    raise invalid(name, f"“{value}” is neither true nor false")


def number(name: str, default: int, *, least: int = 0, most: int = 2**63) -> int:
    value = text(name, str(default))
    if not (value.isascii() and value.isdigit()) or not least <= int(value) <= most:
        raise invalid(name, f"“{value}” is not a whole number from {least} to {most}")
    return int(value)


def size(name: str) -> int:
    """A number of bytes, such as `500G`; 0 if unset."""
    try:
        return parse_size(text(name, "0"))
    except ValueError as error:
        raise invalid(name, str(error)) from None


def items(name: str, default: str = "") -> list[str]:
    return [item.strip() for item in text(name, default).split(",") if item.strip()]


def choice(name: str, default: str, *choices: str) -> str:
    value = text(name, default)
    if value not in choices:
        raise invalid(name, f"“{value}” is not one of {', '.join(choices)}")
    return value


def http_url(name: str, default: str = "") -> str:
    """An http(s) URL without a trailing slash, credentials, query or fragment; "" if unset."""
    value = text(name, default).rstrip("/")
    if not value:
        return ""
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018  raises ValueError on nonsense
    except ValueError:
        raise invalid(
            name, "its host or port is not valid; write it like http://mlflow.internal:5000"
        ) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise invalid(name, f"“{value}” is not a URL such as http://mlflow.internal:5000")
    if parts.username or parts.query or parts.fragment:
        raise invalid(
            name, "it contains a user, a query or a fragment; only scheme, host, port and path are allowed"
        )
    return value


def log_format(setting: str) -> str:
    """For `auto`: text on a terminal and for commands, JSON otherwise."""
    if setting != "auto":
        return setting
    return "text" if sys.stderr.isatty() or Path(sys.argv[0]).name == "manage.py" else "json"


def endpoint(url: str) -> tuple[str, int]:
    """Host and port of a URL; all names of this machine count as one host, THIS_MACHINE."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    is_here = host in ("localhost", "0.0.0.0", "::", "::1") or host.startswith("127.")  # noqa: S104
    return THIS_MACHINE if is_here else host, parts.port or (443 if parts.scheme == "https" else 80)


def redis_url(name: str) -> str:
    """A redis:// or valkey:// URL in redis-py's form; "" if unset. Errors do not repeat it (it may hold a password)."""
    value = text(name)
    scheme, divider, rest = value.partition("://")
    scheme = scheme.lower().replace("valkey", "redis")
    if value and (scheme not in ("redis", "rediss", "unix") or not divider or not rest):
        raise invalid(name, "it is not a URL such as redis://redis.internal:6379/0 or valkey://…")
    return f"{scheme}://{rest}" if value else ""


def networks(name: str, default: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    try:
        return [ipaddress.ip_network(item) for item in items(name, default)]
    except ValueError:
        raise invalid(
            name, "an item is not a network; write networks like 10.1.0.0/16, 2001:db8::/32"
        ) from None


def smtp_url(name: str) -> dict[str, Any]:
    """Django's EMAIL_… settings for `smtp://` (with STARTTLS unless on this machine) or `smtps://`; {} if unset."""
    value = text(name)
    if not value:
        return {}
    problem = "it is not a URL such as smtp://user:password@mail.internal:587 or smtps://…"
    try:
        parts = urlsplit(value)
        port = parts.port or (465 if parts.scheme == "smtps" else 587)
    except ValueError:
        raise invalid(name, problem) from None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise invalid(name, problem)
    return {
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": port,
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": parts.scheme == "smtps",
        "EMAIL_USE_TLS": parts.scheme == "smtp" and endpoint(value)[0] != THIS_MACHINE,
    }


def readable_file(name: str) -> str:
    value = text(name)
    if value and not os.access(value, os.R_OK):
        raise invalid(name, f"the file “{value}” cannot be read")
    return value


def signing_key(name: str, generated: Path) -> str:
    """An elliptic-curve private key as PEM: the setting's, else that of the file which `manage.py up` generates; ""
    without either. In a setting, `\\n` stands for the end of a line."""
    value = text(name).replace("\\n", "\n")
    if not value:
        return generated.read_text() if generated.is_file() and os.access(generated, os.R_OK) else ""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_private_key(value.encode(), password=None)
    except (ValueError, TypeError):
        raise invalid(name, "it is not an unencrypted private key in PEM") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in (
        "secp256r1",
        "secp384r1",
        "secp521r1",
    ):
        raise invalid(name, "it is not an elliptic-curve key of P-256, P-384 or P-521")
    return value


def certificate_file(name: str) -> str:
    """The path of a file with certificates in PEM; "" if unset."""
    value = readable_file(name)
    if value:
        from cryptography import x509

        try:
            x509.load_pem_x509_certificates(Path(value).read_bytes())
        except (OSError, ValueError):
            raise invalid(name, f"the file “{value}” does not contain certificates in PEM") from None
    return value


PROVIDER_FIELDS = (
    "id",
    "issuer",
    "client_id",
    "client_secret",
    "name",
    "domains",
    "organisation",
    "groups_claim",
)


def oidc_providers(name: str) -> list[dict[str, Any]]:
    """A JSON list of OpenID providers, each an object with PROVIDER_FIELDS, of which the first four are needed."""
    try:
        content = json.loads(text(name, "[]"))
    except ValueError:
        raise invalid(name, "it is not JSON; write a list of objects") from None
    if not isinstance(content, list) or not all(isinstance(each, dict) for each in content):
        raise invalid(name, "it is not a list of objects")
    found = [one_provider(name, each) for each in content]
    if len({each["id"] for each in found}) < len(found):
        raise invalid(name, "two providers have the same id")
    return found


def one_provider(name: str, given: dict[str, Any]) -> dict[str, Any]:
    if unknown := sorted(given.keys() - set(PROVIDER_FIELDS)):
        raise invalid(name, f"unknown field {unknown[0]}; there are {', '.join(PROVIDER_FIELDS)}")
    domains = given.get("domains", [])
    texts = [value for field, value in given.items() if field != "domains"]
    if not isinstance(domains, list) or not all(
        isinstance(each, str) and each for each in [*texts, *domains]
    ):
        raise invalid(name, "each field is a text, and domains a list of texts")
    if missing := [field for field in PROVIDER_FIELDS[:4] if field not in given]:
        raise invalid(name, f"a provider lacks {missing[0]}")
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", given["id"]) or given["id"] == "provider":
        raise invalid(name, "an id has 1 to 40 characters from a-z, 0-9 and -, and is not “provider”")
    issuer = given["issuer"].rstrip("/")
    if not issuer.startswith("https://") and endpoint(issuer)[0] != THIS_MACHINE:
        raise invalid(
            name, "an issuer needs https: anyone who can change its responses could sign in as any user"
        )
    return {
        **given,
        "issuer": issuer,
        "name": given.get("name", given["id"]),
        "domains": tuple(each.lower().lstrip("@") for each in domains),
    }
