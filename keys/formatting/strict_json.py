"""JSON that says one thing to everybody: each key once, no NaN, no infinity (RFC 8259, 4 and 6). Pure."""

import json
from typing import Any


def loads(text: str) -> Any:
    """Raises ValueError, with the reason in words, for what is none; RecursionError for nesting without end."""
    return json.loads(text, object_pairs_hook=each_once, parse_constant=not_a_number)


def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key stands in it twice")
    return content


def not_a_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
