"""Characters that cannot be seen, or that change how a terminal shows the text around them. Pure."""

import json
import unicodedata

# Control and format characters, line and paragraph separators, surrogates, private use, unassigned.
INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"})
# Invisible although Unicode counts them as letters, marks or symbols (DerivedCoreProperties.txt,
# Default_Ignorable_Code_Point; U+2800 is a Braille pattern without dots).
INVISIBLE_RANGES = (
    (0x034F, 0x034F),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFFA0, 0xFFA0),
    (0xE0100, 0xE01EF),
)


def is_invisible(character: str) -> bool:
    code = ord(character)
    return unicodedata.category(character) in INVISIBLE_CATEGORIES or any(
        first <= code <= last for first, last in INVISIBLE_RANGES
    )


def escape(text: object) -> str:
    """The text in one line, with each invisible or control character as \\u escape, for a terminal or a log."""
    return "".join(escape_character(letter) if is_invisible(letter) else letter for letter in str(text))


def escape_character(letter: str) -> str:
    code = ord(letter)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def escape_json(text: str) -> str:
    """JSON with the same content, in which such characters are escapes of JSON's own."""
    return "".join(
        json.dumps(letter)[1:-1] if letter > "\x7f" and is_invisible(letter) else letter for letter in text
    ).replace("\x7f", "\\u007f")
