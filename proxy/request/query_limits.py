"""Limits what one call may ask of MLflow's database: ids, sort keys, clauses of a filter, page size. Pure.

MLflow works on an expensive search for minutes after its caller has gone. The numbers are in `proxy.routes.limits`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

from keys.refusals import invalid
from proxy.routes import limits
from proxy.routes.operations import Operation

# MLflow's lexer lets a backslash escape the quote, a simpler one does not: the larger count holds.
QUOTED = (
    re.compile(r"""'[^']*'|"[^"]*"|`[^`]*`"""),
    re.compile(r"""'(?:''|\\'|[^'])*'|"(?:""|\\"|[^"])*"|`(?:``|[^`])*`"""),
)
COMPARISON = re.compile(r"[<>=!]+|\b(?:I?LIKE|RLIKE|IN|IS)\b", re.IGNORECASE)
CONNECTOR = re.compile(r"\b(?:AND|OR)\b", re.IGNORECASE)


def check_query(operation: Operation, query: str) -> None:
    """Raise Refusal (400) for a query string that asks for too much; its parameters may repeat."""
    if not query:
        return
    parameters: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        parameters.setdefault(name, []).append(value)
    for name, values in parameters.items():
        check_field(operation, name, values)


def check_body(operation: Operation, content: Mapping[str, Any]) -> None:
    """Raise Refusal (400) for the JSON of a request that asks for too much. In a read, nested fields count too."""
    fields = walk(content) if operation.is_read else content.items()
    for name, value in fields:
        if isinstance(value, list):
            check_field(operation, name, value)
        elif operation.is_read and isinstance(value, str | int):
            check_field(operation, name, [value])


def walk(content: Any) -> Iterator[tuple[str, Any]]:
    """Each field of the objects in a JSON value."""
    if isinstance(content, dict):
        yield from content.items()
        content = list(content.values())
    for value in content if isinstance(content, list) else ():
        yield from walk(value)


def check_field(operation: Operation, name: str, values: list[Any]) -> None:
    plain = name.replace("_", "").lower()  # MLflow takes order_by and orderBy
    most = limits.SORT_KEYS if plain == "orderby" else limits.most_entries(operation, name)
    if len(values) > most:
        raise too_many(operation, name, len(values), most)
    if not operation.is_read:
        return
    if "filter" in plain:
        check_filter(operation, name, [value for value in values if isinstance(value, str)])
    elif operation.name == "graphql.query" and plain == "query":
        check_clauses(operation, name, "".join(str(value) for value in values))  # filters are strings inside
    elif plain in ("maxresults", "pagesize"):
        check_page(operation, name, values)


def check_filter(operation: Operation, name: str, values: list[str]) -> None:
    for pattern in QUOTED:
        check_clauses(operation, name, " AND ".join(pattern.sub(" ", value) for value in values))


def check_clauses(operation: Operation, name: str, text: str) -> None:
    """Raise Refusal (400) for a filter, without its quoted texts, that has too many clauses or entries."""
    clauses = max(len(COMPARISON.findall(text)), len(CONNECTOR.findall(text)) + 1)
    if clauses > limits.FILTER_CLAUSES:
        raise invalid(
            "filter_too_long",
            f"“{name}” has {clauses:,} clauses; {operation.name} takes {limits.FILTER_CLAUSES}. "
            "Search with fewer conditions, or use IN (…) for alternatives.",
        )
    if text.count(",") >= limits.LIST_ENTRIES:
        raise too_many(operation, name, text.count(",") + 1, limits.LIST_ENTRIES)
    if len(text) > limits.FILTER_CHARACTERS:
        raise invalid(
            "filter_too_long",
            f"“{name}” has {len(text):,} characters outside of quotes; {operation.name} takes "
            f"{limits.FILTER_CHARACTERS:,}. Search with fewer conditions.",
        )


def check_page(operation: Operation, name: str, values: list[Any]) -> None:
    most = limits.largest_page(operation)
    for value in values:
        text = str(value).strip()
        if text.lstrip("+-").isdecimal() and (len(text) > 20 or int(text) > most):
            raise invalid(
                "page_too_large",
                f"“{name}” is {text[:20]}; {operation.name} returns at most {most:,} results in one call. "
                "Ask for a page, and use page_token for the next one.",
            )


def too_many(operation: Operation, name: str, count: int, most: int) -> Exception:
    return invalid(
        "too_many_entries",
        f"“{name}” has {count:,} entries; {operation.name} takes {most:,} in one call. Send several smaller calls.",
    )
