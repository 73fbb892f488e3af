"""What an issued or changed key may do: validation of the values, and their form in an event."""

import datetime
import ipaddress
import unicodedata
from typing import Any

from django.utils import timezone

from keys.actions.errors import ActionError
from keys.models import LIMITS
from keys.rights.scopes import parse_scopes

RIGHTS = (
    "scopes",
    "networks",
    "patterns",
    "any_owner",
    "only_own",
    *LIMITS,
    "expires_at",
    "name",
    "purpose",
)
HIGHEST = {"requests_per_minute": 2**31 - 1, "monthly_requests": 2**63 - 1, "monthly_bytes": 2**63 - 1}
HIDDEN = frozenset({"Cc", "Cf", "Zl", "Zp"})  # Unicode categories: controls, formats, line and paragraph ends
JOINERS = "\u200c\u200d"  # invisible, but part of words in many scripts


def validate_rights(rights: dict[str, Any]) -> dict[str, Any]:
    """The rights in their stored form. Raises ActionError, which names the field and the values that it accepts."""
    rights = dict(rights)
    if "scopes" in rights:
        try:
            rights["scopes"] = [scope.value for scope in parse_scopes(rights["scopes"])]
        except ValueError as error:
            raise ActionError(str(error)) from None
        if not rights["scopes"]:
            raise ActionError("a key needs at least one scope")
    if "networks" in rights:
        rights["networks"] = [parse_network(text) for text in rights["networks"]]
    if "patterns" in rights:
        rights["patterns"] = [pattern.strip() for pattern in rights["patterns"] if pattern.strip()]
        if any(len(pattern) > 256 for pattern in rights["patterns"]):
            raise ActionError("a pattern has at most 256 characters")
    for limit in LIMITS:
        value = rights.get(limit)
        if value is not None and not 1 <= value <= HIGHEST[limit]:
            words = limit.replace("_", " ")
            raise ActionError(f"{words}: a whole number from 1 up; leave it empty for no limit of its own")
    for field in ("name", "purpose"):
        validate_text(field, rights.get(field))
    if rights.get("expires_at") and rights["expires_at"] <= timezone.now():
        raise ActionError("the expiry lies in the past")
    return rights


def validate_text(field: str, text: str | None) -> None:
    """Raise ActionError for invisible characters that terminals and screen readers act on. Names are shown in lists,
    messages and logs, each on one line, so only a purpose may contain line breaks and tabs."""
    for character in text or "":
        is_hidden = unicodedata.category(character) in HIDDEN and character not in JOINERS
        if is_hidden and not (field == "purpose" and character in "\r\n\t"):
            raise ActionError(
                f"{field}: it contains U+{ord(character):04X}, an invisible character; remove it"
            )


def parse_network(text: str) -> str:
    try:
        if "%" in text:
            raise ValueError("an IPv6 zone has a meaning on one machine only")
        return str(ipaddress.ip_network(text.strip()))
    except ValueError:
        raise ActionError(f"“{text}” is not a network; write it as 10.1.0.0/16 or 2001:db8::/32") from None


def serialize_rights(rights: dict[str, Any]) -> dict[str, Any]:
    """Rights as the detail of an event stores them."""
    return {
        name: value.isoformat() if isinstance(value, datetime.datetime) else value
        for name, value in rights.items()
    }
