"""Names that people must be able to see as they are. Pure."""

import unicodedata

from keys.refusals import invalid

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


def refuse_invisible(name: str, field: str) -> None:
    """Raise Refusal (400) for a name with a character that cannot be seen: two names would look the same, or one would
    change how a list or a terminal shows the text around it. `field` holds the name."""
    if name.isascii() and name.isprintable():
        return
    for position, character in enumerate(name, start=1):
        if is_invisible(character):
            raise invalid(
                "invisible_character",
                f"“{field}” contains an invisible or control character, U+{ord(character):04X}, at position "
                f"{position}. Nothing was changed. Remove the character.",
            )


def is_invisible(character: str) -> bool:
    code = ord(character)
    return unicodedata.category(character) in INVISIBLE_CATEGORIES or any(
        first <= code <= last for first, last in INVISIBLE_RANGES
    )
