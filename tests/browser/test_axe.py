"""The search for what people cannot see or use finds it, also where a colour comes again and again."""

import pytest

pytestmark = pytest.mark.browser

PALE, DARK = "oklch(90% 0 0)", "oklch(30% 0 0)"
PAGE = """<!doctype html><html lang="en"><title>colours</title><main><h1>Colours</h1>
{paragraphs}</main></html>"""


def test_each_pale_text_is_found_and_no_dark_one(visit):
    window = visit()
    texts = [f'<p style="color: {colour}">some words</p>' for colour in (PALE, DARK, PALE, DARK)]
    window.page.set_content(PAGE.format(paragraphs="".join(texts)))

    assert window.findings(colours_only=True) == [("color-contrast", [texts[0], texts[2]])]
    assert window.findings() == [("color-contrast", [texts[0], texts[2]])]
