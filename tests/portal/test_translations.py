"""The catalogues against the sources. `make translations` updates them."""

import re

import pytest
from django.utils.translation import gettext

from tests import catalogues

PLACEHOLDER = re.compile(r"%\(\w+\)s|\{\w+\}|<[^>]+>")


@pytest.fixture(params=catalogues.LANGUAGES)
def language(request):
    return request.param


def placeholders(text: str) -> list[str]:
    """Values, and HTML tags with their attributes: a translation may order them otherwise."""
    return sorted(PLACEHOLDER.findall(text))


def test_a_catalogue_has_every_text_of_the_sources_and_no_other(language):
    stored = {message.id for message in catalogues.read_catalogue(language) if message.id}

    assert stored == catalogues.sources()


def test_every_text_is_translated_and_none_is_a_guess(language):
    catalogue = catalogues.read_catalogue(language)

    assert [message.id for message in catalogues.untranslated(catalogue)] == []
    assert [message.id for message in catalogue if message.id and message.fuzzy] == []


def test_translations_have_the_placeholders_and_tags_of_the_text(language):
    wrong = [
        (message.id, string)
        for message in catalogues.read_catalogue(language)
        if message.id
        for string in ([message.string] if isinstance(message.string, str) else message.string)
        if placeholders(string) != placeholders(message.id if isinstance(message.id, str) else message.id[-1])
    ]

    assert wrong == []


def test_the_compiled_catalogue_is_that_of_the_texts(language):
    file = catalogues.po_file(language)

    assert file.read_bytes() == catalogues.as_po(catalogues.updated(language)), "run `make translations`"
    assert file.with_suffix(".mo").read_bytes() == catalogues.as_mo(catalogues.read_catalogue(language))


def test_texts_are_found_wherever_a_template_has_them():
    source = (
        '{% translate "One" %}{% include "x.html" with here=_("Two") %}{{ name|default:_("Three") }}'
        "{% blocktranslate trimmed with a=b.c %}Four\n  {{ a }} %{% endblocktranslate %}"
        "{% blocktranslate count n=n %}{{ n }} call{% plural %}{{ n }} calls{% endblocktranslate %}"
    )

    texts = ["One", "Two", "Three", "Four %(a)s %%", ("%(n)s call", "%(n)s calls")]
    assert list(catalogues.in_template(source)) == texts


def test_a_text_is_english_unless_a_page_asks_for_another_language():
    assert gettext("Sign in") == "Sign in"
