"""Times in templates: `{% load moments %}{{ call.at|format_time }}`."""

import datetime

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from keys.formatting import moments

register = template.Library()


@register.filter
def format_time(at: datetime.datetime | None) -> str:
    return moments.format_time(at)


@register.filter
def format_exact_time(at: datetime.datetime | None) -> str:
    return moments.format_exact_time(at)


@register.filter
def format_relative(at: datetime.datetime | None) -> str:
    return moments.format_relative(at) if at else "never"


@register.filter
def time_tag(at: datetime.datetime | None) -> SafeString | str:
    """The relative time in a `<time>` element, with the exact time on hover and for machines."""
    if at is None:
        return "never"
    stamp = at.isoformat(timespec="seconds")
    words = moments.format_exact_time(at)
    return format_html('<time datetime="{}" title="{}">{}</time>', stamp, words, moments.format_relative(at))
