"""Times as the pages show them."""

import datetime

import pytest
from django.conf import settings
from django.template import Context, Template
from django.utils import translation
from django.utils.formats import date_format

from keys.formatting import moments
from keys.templatetags.moments import format_relative, write_time

NOON = datetime.datetime(2026, 11, 23, 12, 5, 31, tzinfo=datetime.UTC)
TOKYO = datetime.timezone(datetime.timedelta(hours=9))


def test_a_time_is_in_utc_and_says_so():
    assert moments.format_time(NOON.astimezone(TOKYO)) == "2026-11-23 12:05 UTC"
    assert moments.format_exact_time(NOON.astimezone(TOKYO)) == "2026-11-23 12:05:31 UTC"
    assert (moments.format_time(None), moments.format_time(None, otherwise="Never")) == ("-", "Never")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"),
        (-59, "just now"),
        (60, "1 minute ago"),
        (3540, "59 minutes ago"),
        (3599, "1 hour ago"),
        (47 * 3600, "47 hours ago"),
        (48 * 3600, "2 days ago"),
        (90 * 86_400 - 5, "90 days ago"),
        (125 * 86_400, "4 months ago"),
        (800 * 86_400, "2 years ago"),
        (-80, "in 1 minute"),
        (-4 * 86_400, "in 4 days"),
    ],
)
def test_how_long_ago_is_said_in_the_unit_that_people_use(seconds, words):
    assert format_relative(NOON - datetime.timedelta(seconds=seconds), now=NOON) == words


def test_pages_show_how_long_ago_and_on_hover_when():
    page = Template("{% load moments %}{{ at|time_tag }} {{ none|time_tag }} {{ at|format_time }}")

    shown = page.render(Context({"at": NOON, "none": None}))

    assert 'datetime="2026-11-23T12:05:31+00:00" title="2026-11-23 12:05:31 UTC"' in shown
    assert shown.endswith("never 2026-11-23 12:05 UTC")


def test_what_django_shows_by_itself_has_the_same_form():
    assert (
        Template("{{ at }} {{ at|date }}").render(Context({"at": NOON})) == "2026-11-23 12:05 UTC 2026-11-23"
    )


@pytest.mark.parametrize("name", ["DATETIME_FORMAT", "EXACT_DATETIME_FORMAT"])
@pytest.mark.parametrize("language", [code for code, _ in settings.LANGUAGES])
def test_a_time_is_written_as_django_writes_it(language, name):
    with translation.override(language):
        assert write_time(NOON.astimezone(TOKYO), name) == date_format(NOON, name)
