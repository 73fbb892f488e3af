"""Names that look alike have the same skeleton. Pure.

A skeleton as in Unicode Technical Standard 39, with the Unicode Consortium's table of confusable characters, which
`confusable_homoglyphs` carries. It also ignores what people overlook in a name: case, hyphens, dots, underscores and
blanks.
"""

import unicodedata
from functools import lru_cache

OVERLOOKED = dict.fromkeys(map(ord, "-_. \u200c\u200d"))
LONGEST = 500  # characters of a skeleton that are kept: PostgreSQL's index takes no more than 2,700 bytes


def make_skeleton(name: str) -> str:
    text = unicodedata.normalize("NFKC", name).translate(OVERLOOKED)
    text = replace_confusables(replace_confusables(text).casefold())
    return text.replace("i", "l")[:LONGEST]  # I is the capital of i, and looks like l


def replace_confusables(text: str) -> str:
    return "".join(map(prototype, text))


@lru_cache(maxsize=4096)
def prototype(character: str) -> str:
    """The character, or characters, for which this one can be taken."""
    from confusable_homoglyphs import confusables  # loads 10 MB, which few processes need

    found = confusables.is_confusable(character, greedy=True)
    alike = [glyph["c"] for glyph in found[0]["homoglyphs"]] if found else []
    if len(alike) != 1:
        return character  # a prototype lists all characters that resemble it, any other one its prototype
    if len(alike[0]) == 1 and count_confusables(alike[0]) == 1:
        return min(character, str(alike[0]))  # the two list each other
    return str(alike[0])


def count_confusables(character: str) -> int:
    from confusable_homoglyphs import confusables

    found = confusables.is_confusable(character, greedy=True)
    return len(found[0]["homoglyphs"]) if found else 0
