"""Lists: unknown filters are rejected, and pages are read by keyset, so that every page costs the same."""

from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from django.db.models import Model, QuerySet
from django_filters import rest_framework as filters
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from keys.refusals import bad_value

Row = TypeVar("Row", bound=Model)
SIZE, MOST = 50, 200
PAGING = ("cursor", "size")


class KnownFilters(filters.DjangoFilterBackend):  # type: ignore[misc]
    """Rejects unknown and empty parameters, which would otherwise list everything."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: APIView) -> QuerySet[Any]:
        paging = PAGING if view.pagination_class else ()  # type: ignore[attr-defined]
        known = {*view.filterset_class.base_filters, *paging}  # type: ignore[attr-defined]
        known |= getattr(view, "more_parameters", set())
        refuse_unknown(request, known)
        rows: QuerySet[Any] = super().filter_queryset(request, queryset, view)
        return rows


def refuse_unknown(request: Request, known: set[str]) -> None:
    """Raise Refusal for a query parameter that is unknown, empty or given twice."""
    for name, values in request.query_params.lists():
        if name not in known:
            there_are = f"there are {', '.join(sorted(known))}" if known else "there are none here"
            raise bad_value(f"{name}: no such parameter; {there_are}", {name[:100]: ["No such parameter."]})
        if len(values) > 1:
            raise bad_value(f"{name}: given twice", {name: ["Give it once."]})
        if not values[0].strip():
            raise bad_value(f"{name}: empty; leave it out to mean any", {name: ["Give a value."]})


def newest(rows: "QuerySet[Row]", size: int, after: str | None) -> "list[Row]":
    """The newest rows, or the newest before the one at the cursor. Raises ValueError."""
    rows = rows.order_by("-pk")
    return list((rows.filter(pk__lt=number(after)) if after is not None else rows)[:size])


def number(cursor: str) -> int:
    """A cursor that is a row's number. Raises ValueError."""
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise ValueError("no number")
    return int(cursor)


class Pages(BasePagination):
    """`?cursor=` from the page before, `?size=`. By number, newest first, unless the view has a `page` that reads
    the rows and a `cursor_of` that names one."""

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        self.request = request
        self.size = size_of(request)
        after = request.query_params.get("cursor")
        try:
            rows: list[Model] = getattr(view, "page", newest)(queryset, self.size + 1, after)
        except (ValueError, OverflowError):
            raise bad_value(
                "cursor: this is none; take it from the page before as it is",
                {"cursor": ["This is no cursor."]},
            ) from None
        cursor_of = getattr(view, "cursor_of", lambda row: str(row.pk))
        self.next = cursor_of(rows[self.size - 1]) if len(rows) > self.size else None
        return rows[: self.size]

    def get_paginated_response(self, data: Sequence[Any]) -> Response:
        return Response({"next": self.next_address(), "results": data})

    def next_address(self) -> str | None:
        if self.next is None:
            return None
        parameters = {**self.request.query_params.dict(), "cursor": self.next}
        return self.request.build_absolute_uri(f"{self.request.path}?{urlencode(parameters)}")

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        address = {"type": "string", "format": "uri", "nullable": True, "description": "The next page."}
        return {
            "type": "object",
            "required": ["next", "results"],
            "properties": {"next": address, "results": schema},
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        cursor = {"type": "string", "pattern": getattr(view, "cursor_pattern", "^[0-9]{1,18}$")}
        size = {"type": "integer", "minimum": 1, "maximum": MOST, "default": SIZE}
        words = {"cursor": "From `next` of the page before.", "size": "How many a page."}
        return [
            {"name": name, "in": "query", "required": False, "description": words[name], "schema": schema}
            for name, schema in (("cursor", cursor), ("size", size))
        ]


def size_of(request: Request) -> int:
    text = request.query_params.get("size", str(SIZE))
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MOST):
        raise bad_value(f"size: a whole number from 1 to {MOST}", {"size": [f"From 1 to {MOST}."]})
    return int(text)
