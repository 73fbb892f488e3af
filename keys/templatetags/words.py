"""Texts of the code in the page's language: `{% load words %}{{ field.label|translated }}`."""

from django import template
from django.forms import BoundField, ChoiceField, ModelChoiceField, Select
from django.utils.safestring import SafeString
from django.utils.translation import gettext

register = template.Library()


@register.filter
def translated(text: object) -> str:
    """A text that the code keeps in English. One that has no translation stays as it is."""
    return gettext(str(text)) if text else ""


@register.filter
def with_translated_options(field: BoundField) -> SafeString:
    """The field's input. Names of objects among its options are not texts, and stay as they are."""
    chosen = field.field
    if isinstance(chosen, ModelChoiceField):
        chosen.empty_label = translated(chosen.empty_label)
    elif isinstance(chosen, ChoiceField) and isinstance(chosen.widget, Select):
        chosen.widget.choices = [(value, translated(label)) for value, label in chosen.widget.choices]
    return field.as_widget()
