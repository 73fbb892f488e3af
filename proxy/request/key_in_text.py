"""Refuses text that contains an API key, because others can read what MLflow stores. Pure."""

from collections.abc import Iterator
from typing import Any

from keys.credentials.tokens import holds_key
from keys.refusals import invalid

MOST_SHOWN = 100  # characters of a tag's or param's key in the refusal


def refuse(content: Any) -> None:
    """Raise Refusal (400) if any text in this JSON contains a valid key. `content`: a request's fields."""
    for where, named, text in texts(content):
        if holds_key(text):
            of = f" of “{named[:MOST_SHOWN]}”" if named and not holds_key(named) else ""
            raise invalid(
                "key_in_text",
                f"“{where}”{of} contains an API key, and others can read it. Nothing was changed. Remove the key from "
                "the text, have it revoked, and use a new one.",
            )


def texts(value: Any, where: str = "", named: str = "") -> Iterator[tuple[str, str, str]]:
    """Each text: its field, such as `params[0].value`, the key of the tag, param or attribute that it belongs to, and
    the text itself."""
    if isinstance(value, str):
        yield where, named, value
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from texts(item, f"{where}[{number}]", named)
    elif isinstance(value, dict):
        key = value.get("key")
        inner = key if isinstance(key, str) else named
        for name, item in value.items():
            yield f"{where}, a name in it" if where else "a name", "", name
            yield from texts(item, f"{where}.{name}".lstrip("."), inner)
