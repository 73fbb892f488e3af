"""From (method, path) to the operation of MLflow's that it is. Pure.

The table is in `proxy.routes`; what is not in it is refused. Matching walks the path's segments, so its cost
depends on the path's length, not on the table's.
"""

import re
from dataclasses import dataclass, field
from functools import cache

from keys.refusals import Refusal, forbidden
from keys.scopes import Scope


PARAMETER = re.compile(r"\{\w+\}")  # a segment that is one parameter


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One row of the table.

    `path` is MLflow's standard one (`/api/…` where there are two mounts): `{name}` stands for one segment,
    `{name:path}` for one or more. `scope` is what a key needs (None: any key). `refused` says in words why
    no key may call it; "" if keys may.
    """

    name: str
    method: str
    path: str
    scope: Scope | None = None
    refused: str = ""


@dataclass(frozen=True, kw_only=True)
class Match:
    """An operation, the path to forward (decoded) and the values of the path's parameters."""

    operation: Operation
    path: str
    arguments: dict[str, str]


@dataclass
class Node:
    """A place in the tree of paths: what may follow as the next segment, or end here."""

    literals: dict[str, "Node"] = field(default_factory=dict)
    parameter: "tuple[str, Node] | None" = None
    rest: list[tuple[re.Pattern[str], Operation]] = field(default_factory=list)
    operation: Operation | None = None


def tree(operations: tuple[Operation, ...]) -> dict[str, Node]:
    """The table as one tree for each method."""
    roots: dict[str, Node] = {}
    for operation in operations:
        node = roots.setdefault(operation.method, Node())
        segments = operation.path.strip("/").split("/")
        for index, segment in enumerate(segments):
            if segment.startswith("{") and not PARAMETER.fullmatch(segment):
                node.rest.append((rest_pattern("/".join(segments[index:])), operation))
                break
            node = child(node, segment)
        else:
            if node.operation is not None:
                raise ValueError(f"two rows for {operation.method} {operation.path}")
            node.operation = operation
    for root in roots.values():
        sort_rests(root)
    return roots


def child(node: Node, segment: str) -> Node:
    if not segment.startswith("{"):
        return node.literals.setdefault(segment, Node())
    if node.parameter is None:
        node.parameter = (segment.strip("{}"), Node())
    return node.parameter[1]


def rest_pattern(template: str) -> re.Pattern[str]:
    """A pattern for the remainder of a path from a segment on that is more than one whole parameter:
    `{name:path}`, or `{name}:generateContent`."""
    pattern = ""
    for literal, name, is_rest in re.findall(r"([^{]*)(?:\{(\w+)(:path)?\})?", template):
        pattern += re.escape(literal)
        if name:
            pattern += f"(?P<{name}>{'.+' if is_rest else '[^/]+'})"
    return re.compile(pattern, re.DOTALL)


def sort_rests(node: Node) -> None:
    """The more specific pattern first, as FastAPI would have it by declaration."""
    node.rest.sort(key=lambda rest: -rest[0].pattern.count("/"))
    for following in (*node.literals.values(), *([node.parameter[1]] if node.parameter else [])):
        sort_rests(following)


@cache
def table() -> dict[str, Node]:
    from proxy.routes import OPERATIONS

    return tree(OPERATIONS)


def match(method: str, path: str) -> Match:
    """The operation behind a checked, decoded path (`proxy.paths.decode`), without its mount.

    Raises Refusal: 404 ENDPOINT_NOT_FOUND if MLflow has no such route, 403 if it is closed to every key.
    """
    found = None
    for candidate in candidates(path):
        root = table().get(method)
        if root and (found := walk(root, candidate.strip("/").split("/"), 0, {})):
            break
    if found is None:
        raise Refusal(
            status=404,
            error_code="ENDPOINT_NOT_FOUND",
            reason="not_a_route",
            message=f"{method} {path} is not a route of MLflow's that this registry serves. The tracking URI is "
            "the portal's address followed by /api/mlflow; see whether your MLflow version is newer than ours.",
        )
    operation, arguments = found
    if operation.refused:
        raise forbidden("route_refused", f"{operation.name} is closed to every API key: {operation.refused}.")
    return Match(operation=operation, path=candidate, arguments=arguments)


def candidates(path: str) -> list[str]:
    """The paths under which the table may hold a request's: `/ajax-api/…` is also served as `/api/…`."""
    if path.endswith("/"):
        return []
    if path.startswith("/ajax-api/"):
        return [path, path.replace("/ajax-api/", "/api/", 1)]
    return [path]


def walk(
    node: Node, segments: list[str], index: int, arguments: dict[str, str]
) -> tuple[Operation, dict[str, str]] | None:
    """Literal segments win over parameters, parameters over rests, as in Werkzeug; backtracks."""
    if index == len(segments):
        return (node.operation, arguments) if node.operation else None
    segment = segments[index]
    if (literal := node.literals.get(segment)) and (found := walk(literal, segments, index + 1, arguments)):
        return found
    if node.parameter and segment:
        name, following = node.parameter
        if found := walk(following, segments, index + 1, {**arguments, name: segment}):
            return found
    remainder = "/".join(segments[index:])
    for pattern, operation in node.rest:
        if matched := pattern.fullmatch(remainder):
            return operation, {**arguments, **matched.groupdict()}
    return None
