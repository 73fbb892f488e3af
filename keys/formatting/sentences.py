"""Error texts as sentences. Pure."""


def to_sentence(error: Exception | str) -> str:
    """The text with a capital letter at its beginning and one full stop at its end."""
    text = str(error)
    return f"{text[0].upper()}{text[1:].rstrip('.')}."
