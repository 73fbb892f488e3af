"""Names that people must be able to see as they are. Pure."""

from keys.formatting.invisible import is_invisible
from keys.refusals import invalid


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
