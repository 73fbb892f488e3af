"""`{% load holder %}`: states, scopes, amounts and registrations in words, for the account pages."""

from django import template

from keys.formatting import sizes
from keys.lists.colours import EVENT_COLOURS, STATE_COLOURS
from keys.lists.event_words import describe_event
from keys.models import KeyEvent
from keys.rights.scopes import in_words, preset_of
from proxy.models import Registration

register = template.Library()

OUTCOMES = {"done": "success", "refused_by_mlflow": "warning", "not_done": "warning", "unknown": "danger"}
RULES = {"complete": "success", "missing": "warning", "malformed": "danger"}
# What was asked for, by operation; `{version}`, `{new_name}` and the detail's fields are filled in.
ACTS = {
    "registered-models.create": "Model created",
    "registered-models.update": "Description changed",
    "registered-models.rename": "Renamed to {new_name}",
    "registered-models.delete": "Model deleted",
    "registered-models.set-tag": "Tag set: {tags}",
    "registered-models.delete-tag": "Tag removed: {tags}",
    "registered-models.set-alias": "Alias {alias} set to version {version}",
    "registered-models.delete-alias": "Alias {alias} removed",
    "model-versions.create": "Version {version} registered",
    "model-versions.update": "Version {version}: description changed",
    "model-versions.transition-stage": "Version {version}: stage {stage}",
    "model-versions.set-tag": "Version {version}: tag set: {tags}",
    "model-versions.delete-tag": "Version {version}: tag removed: {tags}",
    "model-versions.delete": "Version {version} deleted",
    "logged-models.create": "Logged model created",
    "logged-models.finalize": "Logged model finished",
    "logged-models.log-params": "Logged model: parameters added",
    "logged-models.set-tags": "Logged model: tags set: {tags}",
    "logged-models.delete-tag": "Logged model: tag removed: {tags}",
    "logged-models.delete": "Logged model deleted",
}


class Blank(dict[str, object]):
    """What a row does not say is a dash."""

    def __missing__(self, name: str) -> str:
        return "–"


@register.filter
def state_class(state: str) -> str:
    return STATE_COLOURS.get(state, "")


@register.filter
def status_class(status: int) -> str:
    return {2: "success", 3: "info", 4: "warning", 5: "danger"}.get(status // 100, "")


@register.filter
def event_class(event: KeyEvent) -> str:
    return EVENT_COLOURS.get(event.kind, "")


@register.filter
def kind(name: str) -> str:
    return name.replace("_", " ")


@register.filter
def outcome_class(row: Registration) -> str:
    return OUTCOMES.get(row.outcome, "info")


@register.filter
def rules_class(state: str) -> str:
    return RULES.get(state, "")


@register.filter
def preset(scopes: list[str]) -> str:
    found = preset_of(scopes)
    return found.value.capitalize() if found else "Single scopes"


@register.filter
def scope_words(scopes: list[str]) -> list[str]:
    return in_words(scopes)


@register.filter
def happened(event: KeyEvent) -> list[str]:
    return describe_event(event)


@register.filter
def act(row: Registration) -> str:
    """What was asked for: "Version 3 registered"."""
    tags = ", ".join(name if value is None else f"{name} = {value}" for name, value in row.tags.items())
    fields = {name: value for name, value in row.detail.items() if value}
    known = {"version": row.version, "new_name": row.new_name, "tags": tags[:200]}
    words = {**fields, **{name: value for name, value in known.items() if value}}
    return ACTS.get(row.operation, row.operation).format_map(Blank(words))


@register.filter
def amount(count: int | None) -> str:
    """1234567 as "1,234,567"."""
    return "–" if count is None else f"{count:,}"


@register.filter
def size(count: int | None) -> str:
    """Bytes as "10 GiB"."""
    return "–" if count is None else sizes.in_words(count)


@register.filter
def milliseconds(duration: float | None) -> str:
    if duration is None:
        return "–"
    return f"{duration:,.0f} ms" if duration < 10_000 else f"{duration / 1000:,.1f} s"
