"""`{% load holder %}`: states, scopes, numbers and registrations in words, for the account pages."""

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext

from keys.lists import event_words
from keys.lists.colours import EVENT_COLOURS, SHOWN_STATE_COLOURS
from keys.lists.columns import limits_of
from keys.lists.states import shown_state
from keys.models import ApiKey, KeyEvent, KeyRequest
from keys.rights.scopes import describe_scopes, find_preset
from keys.templatetags.words import PAGE
from proxy.ledger import history
from proxy.lists.colours import OUTCOME_COLOURS, RULES_COLOURS, STATUS_COLOURS
from proxy.models import Registration

register = template.Library()


@register.filter
def state_badge(key: ApiKey) -> SafeString:
    """The key's state as a badge."""
    state = shown_state(key)
    return format_html(
        '<span class="badge {}">{}</span>', SHOWN_STATE_COLOURS[state], gettext(state.capitalize())
    )


@register.filter
def status_class(status: int) -> str:
    return STATUS_COLOURS.get(status // 100, "")


@register.filter
def event_class(event: KeyEvent) -> str:
    return EVENT_COLOURS.get(event.kind, "")


@register.filter
def kind(name: str) -> str:
    return gettext(name.replace("_", " "))


@register.filter
def outcome_class(row: Registration) -> str:
    return OUTCOME_COLOURS.get(row.outcome, "info")


@register.filter
def rules_class(state: str) -> str:
    return RULES_COLOURS.get(state, "")


@register.filter
def preset(scopes: list[str]) -> str:
    matching = find_preset(scopes)
    return gettext(matching.value.capitalize() if matching else "Single scopes")


@register.filter
def limits(key: ApiKey) -> list[str]:
    return limits_of(key, PAGE)


@register.filter
def scope_words(scopes: list[str]) -> list[str]:
    return describe_scopes(scopes, translate=gettext)


@register.filter
def describe_event(event: KeyEvent) -> list[str]:
    return event_words.describe_event(event, PAGE)


@register.filter
def event_actor(event: KeyEvent) -> str:
    return event_words.describe_actor(event, translate=gettext)


@register.filter
def describe_registration(row: Registration) -> str:
    """The request in words: "Registered version 3 of vision"."""
    return Truncator(history.describe(row, translate=gettext)).chars(300)


@register.filter
def request_words(request: KeyRequest) -> str:
    """The request in a few words."""
    return request.describe(translate=gettext)
