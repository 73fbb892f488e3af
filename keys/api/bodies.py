"""Bodies of the management API: JSON in, JSON out, whatever the Accept header says."""

from typing import Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class JsonAlways(BaseContentNegotiation):
    """The first renderer, which is the only one, even to who asks for something else."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return next((parser for parser in parsers if is_json(request.content_type)), None)

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        renderer: BaseRenderer = renderers[0]
        return renderer, renderer.media_type


def is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"
