"""Bodies of the management API: JSON in, JSON out, whatever the Accept header says."""

from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import JSONParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from keys.formatting import strict_json

MOST_DEPTH = 20  # of lists and objects in each other; no call needs more than three
TOO_DEEP = "The JSON is nested too deep. Send a plain object."


class JsonAlways(BaseContentNegotiation):
    """The first renderer, which is the only one, even to who asks for something else."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return next((parser for parser in parsers if is_json(request.content_type)), None)

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        renderer: BaseRenderer = renderers[0]
        return renderer, renderer.media_type


class Json(JSONParser):
    """JSON that says one thing: a field given twice, or nesting without end, is the caller's mistake."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        try:
            content = strict_json.loads(stream.read().decode())
        except RecursionError as error:
            raise ParseError(TOO_DEEP) from error
        except ValueError as error:
            raise ParseError(
                f"This cannot be read for certain: {error}. Send JSON with each key once."
            ) from None
        if is_deeper(content, MOST_DEPTH):
            raise ParseError(TOO_DEEP)
        return content


def is_deeper(content: Any, depth: int) -> bool:
    """Whether lists and objects stand in each other more often than that."""
    level = [content]
    for _ in range(depth + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)


def is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"
