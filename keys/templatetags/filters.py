"""The filters of an admin list as fields of one form: `{% load filters %}{% fields_of cl as fields %}`."""

import re
from dataclasses import dataclass
from typing import Any

from django import template
from django.contrib.admin.filters import BooleanFieldListFilter, SimpleListFilter
from django.template import Context
from django.utils.safestring import SafeString
from django.utils.text import capfirst

register = template.Library()
LABEL = re.compile(r'(?<= data-label=")[^"]+')  # quotes in the texts of cells are escaped


@dataclass(frozen=True, kw_only=True)
class Field:
    """`options`: value and words; empty for a text. `without`: the query string without this filter."""

    name: str
    label: str
    value: str
    options: list[tuple[str, str]]
    without: str

    @property
    def words(self) -> str:
        return dict(self.options).get(self.value, self.value)


@register.simple_tag(takes_context=True)
def fields_of(context: Context, changelist: Any) -> list[Field]:
    asked = context["request"].GET
    fields = []
    for spec in changelist.filter_specs:
        name = getattr(spec, "parameter_name", None) or spec.lookup_kwarg
        fields.append(
            Field(
                name=name,
                label=capfirst(spec.title),
                value=asked.get(name, ""),
                options=options_of(spec),
                without=changelist.get_query_string(remove=[name]),
            )
        )
    return fields


def options_of(spec: Any) -> list[tuple[str, str]]:
    """The choices of a filter; none for Unfold's TextFilter."""
    if isinstance(spec, SimpleListFilter):
        return [(str(value), str(words)) for value, words in spec.lookup_choices]
    if isinstance(spec, BooleanFieldListFilter):
        return [("1", "Yes"), ("0", "No")]
    return (
        [(str(value), str(words)) for value, words in spec.field.flatchoices]
        if hasattr(spec, "field")
        else []
    )


@register.simple_tag(takes_context=True)
def other_parameters(context: Context, fields: list[Field]) -> list[tuple[str, str]]:
    """What of the address the form keeps: the search, the order and links from other pages, but not the page."""
    names = {field.name for field in fields} | {"p", "e"}
    return [(name, value) for name, value in context["request"].GET.items() if name not in names and value]


@register.filter(is_safe=True)
def capitalise_labels(rows: str) -> SafeString:
    """Unfold's rows of a list, where each cell has its column's label beside it in a narrow window. Unfold capitalises
    only the header of the wide list."""
    return SafeString(LABEL.sub(lambda label: capfirst(label[0]), rows))
