"""Texts and numbers of the code in the page's language: `{% load words %}{{ field.label|translated }}`."""

import re
from typing import Any

from django import template
from django.forms import BoundField, ChoiceField, ModelChoiceField, Select
from django.utils.formats import get_format, number_format
from django.utils.html import escape
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from keys.formatting import sizes
from keys.formatting.writing import Writing
from keys.templatetags.moments import format_time

register = template.Library()
SEPARATORS = re.compile(r"[/\-._]+(?=[^/\-._])")  # in a path or an id, before its next part


@register.filter
def translated(text: object) -> str:
    """A text that the code keeps in English. One that has no translation stays as it is."""
    return gettext(str(text)) if text else ""


@register.filter
def with_translated_options(field: BoundField) -> SafeString:
    """The field's input, with the hidden one of a field that keeps its first value. Names of objects among its options
    are not texts, and stay as they are."""
    chosen = field.field
    if isinstance(chosen, ModelChoiceField):
        chosen.empty_label = translated(chosen.empty_label)
    elif isinstance(chosen, ChoiceField) and isinstance(chosen.widget, Select):
        chosen.widget.choices = [(value, translated(label)) for value, label in chosen.widget.choices]
    return SafeString(field)


@register.filter
def leak_words(leak: Any) -> str:
    """Where and when a key was found (`KeyEvent.describe_leak`)."""
    return str(leak.describe_leak(writing=PAGE))


def format_number(number: float, digits: int = 0) -> str:
    """1234567 as "1,234,567"."""
    return number_format(round(number, digits), digits, use_l10n=True, force_grouping=True)


def format_size(count: int) -> str:
    """Bytes as "1.5 GiB"."""
    number, unit = sizes.format_size(count).split(" ")
    return (
        f"{number.replace('.', get_format('DECIMAL_SEPARATOR'))} {gettext(unit) if unit == 'bytes' else unit}"
    )


@register.filter
def breakable(text: object) -> SafeString:
    """A path or an id that is broken between its parts in a narrow column. A copy of it is the exact value, because
    `<wbr>` has no text."""
    return SafeString(SEPARATORS.sub(r"\g<0><wbr>", escape(str(text or ""))))  # no entity has a separator


@register.filter
def thousands(count: int | None) -> str:
    return "–" if count is None else format_number(count)


@register.filter
def size(count: int | None) -> str:
    return "–" if count is None else format_size(count)


@register.filter
def milliseconds(duration: float | None) -> str:
    return "–" if duration is None else format_milliseconds(duration)


def format_milliseconds(duration: float) -> str:
    """340.2 as "340 ms", 12300 as "12.3 s"."""
    if duration < 10_000:
        return f"{format_number(duration)} ms"
    return f"{format_number(duration / 1000, 1)} s"


PAGE = Writing(translate=gettext, number=format_number, size=format_size, time=format_time)
