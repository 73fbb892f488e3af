"""Error texts as sentences. Pure."""

# A terminal shows the JSON of an error as it is sent: \u201c in place of a quotation mark, or \" in place of ".
PLAIN = str.maketrans({"“": "'", "”": "'", "‘": "'", "’": "'", "…": "...", "–": "-", "—": "-", "→": "->"})


def to_sentence(error: Exception | str) -> str:
    """The text with a capital letter at its beginning and one full stop at its end."""
    text = str(error)
    return f"{text[0].upper()}{text[1:].rstrip('.')}."


def plain_punctuation(text: str) -> str:
    """The text with ASCII punctuation, for JSON that people read in a terminal."""
    return text.translate(PLAIN)
