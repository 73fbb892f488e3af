"""What an event of a key says in words: pages, the API and CSV files show the same."""

from collections.abc import Callable
from typing import Any

from django.utils.dateparse import parse_datetime

from keys.actions.overlaps import OVERLAPS
from keys.formatting.writing import ENGLISH, Writing
from keys.models import KeyEvent, KeyRequest
from keys.models.key_requests import describe_requested
from keys.rights.scopes import find_preset

RIGHTS = {
    "scopes": "Scopes",
    "networks": "Networks",
    "patterns": "Model names",
    "organisation": "Organisation",
    "any_owner": "Any owner",
    "only_own": "Only own",
    "requests_per_minute": "Calls a minute",
    "monthly_requests": "Calls a month",
    "monthly_bytes": "Bytes a month",
    "expires_at": "Expires",
    "name": "Name",
    "purpose": "Purpose",
    "is_canary": "Canary",
    "imported": "Imported",
}
# Where an event has no actor:
COMMAND_LINE = "command line"
REPORT = "leak report"
UNKNOWN_CALLER = "unknown caller"  # of a canary


def describe_actor(event: KeyEvent, translate: Callable[[str], str] = str) -> str:
    if event.actor:
        return event.actor.username
    if event.is_by_report:
        return translate(REPORT)
    return translate(UNKNOWN_CALLER if event.kind == KeyEvent.Kind.CANARY else COMMAND_LINE)


def describe_right(name: str, value: object, writing: Writing = ENGLISH) -> str:
    """A right in words, from its value in an event's detail."""
    translate = writing.translate
    match name, value:
        case "scopes", list():
            preset = find_preset(value)
            return translate(preset.value.capitalize()) if preset else ", ".join(value)
        case "networks" | "patterns", list():
            return ", ".join(value) or translate("any")
        case "any_owner" | "only_own" | "is_canary" | "imported", _:
            return translate("yes") if value else translate("no")
        case "monthly_bytes", int():
            return writing.size(value)
        case "requests_per_minute" | "monthly_requests", int():
            return writing.number(value)
        case "requests_per_minute", _:
            return translate("the default")
        case "monthly_requests" | "monthly_bytes", _:
            return translate("no limit")
        case "expires_at", _:
            at = parse_datetime(str(value)) if value else None
            return writing.time(at) if at else translate("never")
    return f"“{value}”" if value else translate("none")


def describe_changes(detail: dict[str, Any], writing: Writing = ENGLISH) -> list[str]:
    before, after = detail.get("before", {}), detail.get("after", {})
    changed = [name for name in RIGHTS if name in after]
    texts = {
        name: [describe_right(name, values.get(name), writing) for values in (before, after)]
        for name in changed
    }
    return [f"{writing.translate(RIGHTS[name])}: {' → '.join(texts[name])}" for name in changed]


def describe_event(event: KeyEvent, writing: Writing = ENGLISH) -> list[str]:
    """What the event's kind does not say: the rights that were given, each change, the reason."""
    detail, translate = event.detail, writing.translate
    match event.kind:
        case KeyEvent.Kind.ISSUED:
            return [
                f"{translate(RIGHTS[name])}: {describe_right(name, detail[name], writing)}"
                for name in RIGHTS
                if detail.get(name)
            ]
        case KeyEvent.Kind.TRUSTED:
            return [
                translate("Issuer: {text}").format(text=detail["issuer"]),
                translate("Audience: {text}").format(text=detail["audience"]),
                translate("Claims: {text}").format(text=", ".join(detail["conditions"])),
                *([translate("With an uploaded key set")] if detail.get("key_set") else []),
                *([translate("From a private address")] if detail.get("is_private") else []),
            ]
        case KeyEvent.Kind.CHANGED:
            return describe_changes(detail, writing)
        case KeyEvent.Kind.ROTATED:
            overlap = OVERLAPS.get(detail.get("overlap", ""))
            ending = translate(overlap.ending if overlap else "then")
            return [
                translate("The old secret ends {ending}").format(ending=ending),
                *([] if detail.get("is_shown", True) else [translate("Nobody saw the new secret")]),
                *describe_changes(detail, writing),
            ]
        case KeyEvent.Kind.REQUESTED:
            what = describe_requested(detail.get("scopes", []), detail.get("days"), translate)
            return [f"{translate(KeyRequest.Kind(detail['request']).label)}: {what}"]
        case KeyEvent.Kind.OLD_SECRET_ENDED:
            masked = detail.get("masked") or translate("from before the rotation")
            return [translate("The secret {masked} no longer works").format(masked=masked)]
        case KeyEvent.Kind.LEAKED:
            location = (
                translate("Found at {where}").format(where=detail["where"])
                if detail.get("where")
                else translate("The report names no location")
            )
            return [
                location,
                *([translate("The old secret, which had ended")] if detail.get("found") else []),
            ]
    return [detail["reason"]] if detail.get("reason") else []
