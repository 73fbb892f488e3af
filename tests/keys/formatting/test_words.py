"""Texts and numbers in templates."""

import pytest

from keys.templatetags.words import breakable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        (None, ""),
        ("name", "name"),
        ("/api/2.0//x-y_z", "/<wbr>api/<wbr>2.<wbr>0//<wbr>x-<wbr>y_<wbr>z"),
        ("ends/", "ends/"),
        ("<a>&amp'", "&lt;a&gt;&amp;amp&#x27;"),
        ('"a"/<b>', "&quot;a&quot;/<wbr>&lt;b&gt;"),
    ],
)
def test_a_path_may_break_between_its_parts_and_nowhere_else(text, shown):
    assert breakable(text) == shown
