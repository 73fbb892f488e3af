"""`{% load moments %}{{ call.at|moment }} {{ call.at|exactly }} {{ call.at|ago }} {{ call.at|when }}`."""

import datetime

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from keys.formatting import moments

register = template.Library()


@register.filter
def moment(at: datetime.datetime | None) -> str:
    return moments.format_time(at)


@register.filter
def exactly(at: datetime.datetime | None) -> str:
    return moments.format_exact_time(at)


@register.filter
def ago(at: datetime.datetime | None) -> str:
    return moments.format_relative(at) if at else "never"


@register.filter
def when(at: datetime.datetime | None) -> SafeString | str:
    """How long ago, and on hover when exactly, for machines too."""
    if at is None:
        return "never"
    stamp = at.isoformat(timespec="seconds")
    words = moments.format_exact_time(at)
    return format_html('<time datetime="{}" title="{}">{}</time>', stamp, words, moments.format_relative(at))
