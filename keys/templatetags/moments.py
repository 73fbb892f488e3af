"""Times in templates, as the page's language writes them: `{% load moments %}{{ call.at|format_time }}`."""

import datetime
import re
from functools import cache

from django import template
from django.utils.formats import get_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext_lazy

from keys.formatting import moments

register = template.Library()

AGO = {
    "minute": ngettext_lazy("%(count)d minute ago", "%(count)d minutes ago", "count"),
    "hour": ngettext_lazy("%(count)d hour ago", "%(count)d hours ago", "count"),
    "day": ngettext_lazy("%(count)d day ago", "%(count)d days ago", "count"),
    "month": ngettext_lazy("%(count)d month ago", "%(count)d months ago", "count"),
    "year": ngettext_lazy("%(count)d year ago", "%(count)d years ago", "count"),
}
FROM_NOW = {
    "minute": ngettext_lazy("in %(count)d minute", "in %(count)d minutes", "count"),
    "hour": ngettext_lazy("in %(count)d hour", "in %(count)d hours", "count"),
    "day": ngettext_lazy("in %(count)d day", "in %(count)d days", "count"),
    "month": ngettext_lazy("in %(count)d month", "in %(count)d months", "count"),
    "year": ngettext_lazy("in %(count)d year", "in %(count)d years", "count"),
}


# The letters of Django's formats that ours have (`portal/formats`), as `strftime` writes them.
DIRECTIVES = {"Y": "%Y", "m": "%m", "d": "%d", "H": "%H", "i": "%M", "s": "%S"}


@cache
def find_directives(language_format: str) -> str:
    r"""Django's `d.m.Y \U` as `%d.%m.%Y U`, because Django's `date_format` takes several times as long, and a list of
    calls has fifty times. Raises KeyError for a letter that our formats do not have."""
    parts = re.findall(r"\\(.)|([A-Za-z])|(.)", language_format)
    return "".join(DIRECTIVES[letter] if letter else (other + text) for other, letter, text in parts)


def write_time(at: datetime.datetime, name: str) -> str:
    return moments.utc(at).strftime(find_directives(get_format(name)))


@register.filter
def format_time(at: datetime.datetime | None) -> str:
    """To the minute: "2026-11-23 18:05 UTC"."""
    return write_time(at, "DATETIME_FORMAT") if at else "-"


@register.filter
def format_exact_time(at: datetime.datetime | None) -> str:
    """To the second: "2026-11-23 18:05:31 UTC"."""
    return write_time(at, "EXACT_DATETIME_FORMAT") if at else "-"


@register.filter
def format_relative(at: datetime.datetime | None, now: datetime.datetime | None = None) -> str:
    """The time relative to now: "3 minutes ago", "in 4 days"; "just now" within a minute."""
    if at is None:
        return gettext("never")
    passed = ((now or datetime.datetime.now(datetime.UTC)) - at).total_seconds()
    if abs(passed) < 60:
        return gettext("just now")
    count, unit = moments.round_duration(abs(passed))
    return str((AGO if passed > 0 else FROM_NOW)[unit] % {"count": count})


@register.filter
def time_tag(at: datetime.datetime | None) -> SafeString | str:
    """The relative time in a `<time>` element, with the exact time on hover and for machines."""
    if at is None:
        return gettext("never")
    stamp = at.isoformat(timespec="seconds")
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', stamp, format_exact_time(at), format_relative(at)
    )
