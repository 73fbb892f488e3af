"""The catalogues against the sources. `make translations` updates them."""

import ast
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


# Who may translate: code that only makes pages, and the mails that a page sends to a person. The rest makes JSON, rows,
# events, files and logs, and stays English.
PAGES = (
    *("keys/pages/", "keys/templatetags/", "portal/account/", "portal/pages/", "portal/sign_in/"),
    *("portal/templatetags/", "keys/admin/invitation_pages.py"),
    *("keys/alerts/invitation_links.py", "keys/alerts/key_messages.py"),
)
# Whose texts are attributes of a class or rows of a table, and are only ever shown.
LAZY = {"keys/templatetags/moments.py", "portal/account/forms.py", "portal/sign_in/adapters.py"}


def calls_of_gettext() -> list[tuple[str, str, bool]]:
    """Each call: the file, the function, and whether it runs when the module is imported."""
    found = []
    for package in ("keys", "proxy", "portal"):
        for file in (catalogues.ROOT / package).rglob("*.py"):
            source = file.read_text(encoding="utf-8")
            if "gettext" in source:
                tree = ast.parse(source)
                functions = [
                    each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.Lambda)
                ]
                inside = {id(node) for function in functions for node in ast.walk(function)}
                found += [
                    (str(file.relative_to(catalogues.ROOT)), node.func.id, id(node) not in inside)
                    for node in ast.walk(tree)
                    if isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Name)
                    and node.func.id.removesuffix("_lazy") in ("gettext", "ngettext")
                ]
    return found


def test_nothing_is_translated_when_a_module_is_imported():
    calls = calls_of_gettext()

    assert len(calls) > 50
    assert {file for file, name, is_early in calls if is_early and not name.endswith("_lazy")} == set()


def test_only_code_of_pages_translates_and_lazy_texts_stay_where_they_are_shown():
    calls = calls_of_gettext()

    assert {file for file, _, _ in calls if not file.startswith(PAGES)} == set()
    assert {file for file, name, _ in calls if name.endswith("_lazy")} == LAZY
