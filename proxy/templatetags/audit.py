"""How the pages of the log and of the ledger write things: `{% load audit %}{{ call.status|status_colour }}`."""

import json

from django import template

from keys.formatting import sizes
from proxy.ledger import history
from proxy.lists import page_filters
from proxy.models import Registration
from proxy.routes.objects import KIND_LABELS

register = template.Library()
STATUS_COLOURS = {1: "info", 2: "success", 3: "info", 4: "warning", 5: "danger"}
STATUS_WORDS = {1: "going on", 2: "successful", 3: "redirected", 4: "refused", 5: "failed"}
OUTCOME_COLOURS = {"done": "success", "pending": "info", "imported": "info", "unknown": "danger"}
RULES_COLOURS = {"complete": "success", "malformed": "danger"}


@register.filter
def status_colour(status: int) -> str:
    return STATUS_COLOURS.get(status // 100, "info")


@register.filter
def status_words(status: int) -> str:
    """In one word, so that colour is not all that tells."""
    return "caller gone" if status == 499 else STATUS_WORDS.get(status // 100, "")


@register.filter
def outcome_colour(outcome: str) -> str:
    return OUTCOME_COLOURS.get(outcome, "warning")


@register.filter
def rules_colour(state: str) -> str:
    return RULES_COLOURS.get(state, "warning")


@register.filter
def kind_words(kind: str) -> str:
    return KIND_LABELS.get(kind, kind).replace("_", " ")


@register.filter
def operation_words(operation: str) -> str:
    return page_filters.in_words(operation)


@register.filter
def story_words(row: Registration) -> str:
    return history.describe(row)


@register.filter
def of(found: dict[int, object], row: Registration) -> object:
    """What is known of the row, by its id."""
    return found.get(row.pk)


@register.filter
def as_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)


@register.filter
def milliseconds(duration: float | None) -> str:
    """As in 340 ms, 12.3 s."""
    if duration is None:
        return "-"
    return f"{duration:,.0f} ms" if duration < 10_000 else f"{duration / 1000:,.1f} s"


@register.filter
def amount(count: int) -> str:
    return sizes.in_words(count)


@register.filter
def thousands(count: int) -> str:
    """1234567 as "1,234,567"."""
    return f"{count:,}"
