"""Names that people must be able to see as they are. Pure."""

from idna import valid_contextj

from keys.formatting.invisible import is_invisible
from keys.refusals import invalid

JOINERS = "\u200c\u200d"  # zero width non-joiner and joiner


def refuse_invisible(name: str, field: str) -> None:
    """Raise Refusal (400) for a name with a character that cannot be seen: two names would look the same, or one would
    change how a list or a terminal shows the text around it. `field` holds the name.

    Joiners pass where Persian, Indic and other scripts need them to spell a word (RFC 5892, appendix A.1 and A.2).
    """
    if name.isascii() and name.isprintable():
        return
    for position, character in enumerate(name, start=1):
        if character in JOINERS and is_needed_joiner(name, position - 1):
            continue
        if is_invisible(character):
            raise invalid(
                "invisible_character",
                f"“{field}” contains an invisible or control character, U+{ord(character):04X}, at position "
                f"{position}. Nothing was changed. Remove the character.",
            )


def is_needed_joiner(name: str, index: int) -> bool:
    try:
        return valid_contextj(name, index)
    except ValueError:  # next to a character that has no name in Unicode
        return False
