"""Style sheets and scripts: colours, sizes of text and radii come from the design tokens alone."""

import re

import pytest
from django.conf import settings

STATIC = settings.BASE_DIR / "portal/static/portal"
TOKENS = (STATIC / "tokens.css").read_text()
DEFINED = re.findall(r"^  (--[a-z0-9-]+):", TOKENS, re.MULTILINE)
USERS = sorted(
    [
        *(path for path in STATIC.iterdir() if path.suffix in (".css", ".js") and path.name != "tokens.css"),
        *(path for path in (settings.BASE_DIR / "templates").rglob("*.html")),
    ]
)
NAMES = "white|black|red|green|blue|gr[ae]y|orange|yellow|purple|pink|brown|navy|teal|silver"
COLOUR = re.compile(
    r"(?<![&\w\"'/?=%}-])#(?:[0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})\b"
    r"|\b(?:rgba?|hsla?|hwb|lab|lch|oklab|oklch|light-dark)\("
    rf"|:[^;{{}}\n]*(?<![\w-])(?:{NAMES})(?![\w-])[^;{{}}\n]*;",
    re.IGNORECASE,
)
SIZE = re.compile(r"(?:font-size|border-radius):\s*[\d.]+(?:rem|em|px)")


def found_in_files(pattern: re.Pattern[str], suffixes: str = ".css .js .html") -> dict[str, list[str]]:
    found = {
        path.name: pattern.findall(path.read_text()) for path in USERS if path.suffix in suffixes.split()
    }
    return {name: matches for name, matches in found.items() if matches}


def test_no_colour_outside_the_tokens():
    assert found_in_files(COLOUR) == {}


def test_no_size_of_text_and_no_radius_outside_the_tokens():
    assert found_in_files(SIZE, ".css") == {}


def test_every_token_that_is_used_exists():
    found = found_in_files(re.compile(r"""(?:var\(|["'])(--[a-z0-9-]+)"""))

    assert {name for names in found.values() for name in names} - set(DEFINED) == set()


def test_each_token_is_defined_once_for_light_and_dark():
    assert len(DEFINED) > 50
    assert len(DEFINED) == len(set(DEFINED))


def test_the_admins_theme_names_tokens_alone():
    colours = [value for weights in settings.UNFOLD["COLORS"].values() for value in weights.values()]
    values = [*colours, settings.UNFOLD["BORDER_RADIUS"]]

    assert {value.removeprefix("var(").removesuffix(")") for value in values} - set(DEFINED) == set()


@pytest.mark.parametrize(
    "text",
    [
        "a { color: #fff; }",
        "a { color: rgb(0 0 0); }",
        "b { border: 1px solid oklch(1% 0 0); }",
        "a { color: red; }",
    ],
)
def test_a_colour_is_found(text):
    assert COLOUR.search(text)
