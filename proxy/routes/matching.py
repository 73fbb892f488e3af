"""Matches a request's method and path to an operation of MLflow. Pure.

The table is `proxy.routes.table`; a route that is not in it is refused. Matching walks the path's segments, so its
cost depends on the path's length, not on the table's.
"""

import re
from dataclasses import dataclass, field
from functools import cache

from keys.credentials.tokens import hide
from keys.refusals import Refusal, forbidden
from proxy.routes.operations import Match, Operation
from proxy.routes.table import OPERATIONS

HINT = (
    "The tracking URI is the portal's address followed by /api/mlflow, once; check whether your MLflow version is "
    "newer than this registry's."
)
# Routes of MLflow 1, which its client calls and MLflow 2 no longer has.
FORMER = re.compile(r"/(?:preview/mlflow/.+|mlflow/(?:experiments|registered-models)/list)$")
OLD = (
    "MLflow 1 has this route, so your client is older than MLflow 2: upgrade it (pip install 'mlflow>=2.9')."
)
PARAMETER = re.compile(r"\{\w+\}")  # a segment that is one parameter
ARTIFACTS = "/mlflow-artifacts/artifacts/"


@dataclass
class Node:
    """A node in the tree of path segments: the possible next segments, and the operation whose path ends here.

    `patterns` are segments with a parameter and something around it, such as `@{organization}`.
    """

    literals: dict[str, "Node"] = field(default_factory=dict)
    patterns: "list[tuple[re.Pattern[str], Node]]" = field(default_factory=list)
    parameter: "tuple[str, Node] | None" = None
    rest: list[tuple[re.Pattern[str], Operation]] = field(default_factory=list)
    operation: Operation | None = None


def is_transfer(method: str, path: str) -> bool:
    """Whether a call transfers an artifact's bytes; such calls have limits of their own."""
    return ARTIFACTS in path and method in ("GET", "PUT", "HEAD")


def build_tree(operations: tuple[Operation, ...]) -> dict[str, Node]:
    """The table as one tree of path segments for each method."""
    roots: dict[str, Node] = {}
    for operation in operations:
        node = roots.setdefault(operation.method, Node())
        segments = operation.path.strip("/").split("/")
        for index, segment in enumerate(segments):
            if ":path}" in segment:
                node.rest.append((path_pattern("/".join(segments[index:])), operation))
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
    if "{" not in segment:
        return node.literals.setdefault(segment, Node())
    if not PARAMETER.fullmatch(segment):
        return pattern_child(node, path_pattern(segment))
    if node.parameter is None:
        node.parameter = (segment.strip("{}"), Node())
    return node.parameter[1]


def pattern_child(node: Node, pattern: re.Pattern[str]) -> Node:
    for known, following in node.patterns:
        if known.pattern == pattern.pattern:
            return following
    node.patterns.append((pattern, Node()))
    return node.patterns[-1][1]


def path_pattern(template: str) -> re.Pattern[str]:
    """A pattern for one segment such as `@{name}` or `{name}:generateContent`, or for the remainder of a path from a
    segment with `{name:path}`."""
    pattern = ""
    for literal, name, is_rest in re.findall(r"([^{]*)(?:\{(\w+)(:path)?\})?", template):
        pattern += re.escape(literal)
        if name:
            pattern += f"(?P<{name}>{'.+' if is_rest else '[^/]+'})"
    return re.compile(pattern, re.DOTALL)


def sort_rests(node: Node) -> None:
    """Sort the more specific patterns first, as FastAPI's order of declaration does."""
    node.rest.sort(key=lambda rest: -rest[0].pattern.count("/"))
    for following in (
        *node.literals.values(),
        *(following for _, following in node.patterns),
        *([node.parameter[1]] if node.parameter else []),
    ):
        sort_rests(following)


@cache
def roots_by_method() -> dict[str, Node]:
    return build_tree(OPERATIONS)


def match_operation(method: str, path: str, *, by_browser: bool = False) -> Match:
    """The operation of a checked, decoded path (`proxy.request.paths.decode`) without its mount. `by_browser` states
    that a signed-in person's browser calls.

    Raises Refusal: 404 ENDPOINT_NOT_FOUND if the table has no such route, 403 if the caller may not call it.
    """
    matched = None
    for candidate in ["/"] if by_browser and path == "/" else candidate_paths(path):
        root = roots_by_method().get(method)
        if root and (matched := walk(root, candidate.strip("/").split("/"), 0, {})):
            break
    if matched is None:
        others = allowed_methods(path)
        hint = f"This path accepts {' or '.join(others)}." if others else OLD if FORMER.search(path) else HINT
        raise Refusal(
            status=404,
            error_code="ENDPOINT_NOT_FOUND",
            reason="not_a_route",
            message=f"{hide(f'{method} {path}')} is not an MLflow route that this registry serves. {hint}",
        )
    operation, arguments = matched
    if operation.for_browsers and not by_browser:
        raise forbidden("ui_not_served", f"{operation.name} is closed to every API key: {operation.refused}.")
    if operation.refused and not operation.for_browsers:
        whom = "here" if by_browser else "to every API key"
        raise forbidden("route_refused", f"{operation.name} is closed {whom}: {operation.refused}.")
    return Match(operation=operation, path=candidate, arguments=arguments)


def allowed_methods(path: str) -> list[str]:
    """The methods that a path accepts; none for a path that is not in the table."""
    return sorted(
        method
        for method, root in roots_by_method().items()
        for candidate in candidate_paths(path)
        if (matched := walk(root, candidate.strip("/").split("/"), 0, {})) and not matched[0].refused
    )


def candidate_paths(path: str) -> list[str]:
    """The paths under which the table may list the request: `/ajax-api/…` is also served as `/api/…`."""
    if path.endswith("/"):
        return []
    if path.startswith("/ajax-api/"):
        return [path, path.replace("/ajax-api/", "/api/", 1)]
    return [path]


def walk(
    node: Node, segments: list[str], index: int, arguments: dict[str, str]
) -> tuple[Operation, dict[str, str]] | None:
    """Prefer literal segments to patterns, these to parameters, and parameters to rests, as MLflow does; backtracks."""
    if index == len(segments):
        return (node.operation, arguments) if node.operation else None
    segment = segments[index]
    if (literal := node.literals.get(segment)) and (matched := walk(literal, segments, index + 1, arguments)):
        return matched
    for pattern, following in node.patterns:
        if (values := pattern.fullmatch(segment)) and (
            matched := walk(following, segments, index + 1, {**arguments, **values.groupdict()})
        ):
            return matched
    if node.parameter and segment:
        name, following = node.parameter
        if matched := walk(following, segments, index + 1, {**arguments, name: segment}):
            return matched
    remainder = "/".join(segments[index:])
    for pattern, operation in node.rest:
        if values := pattern.fullmatch(remainder):
            return operation, {**arguments, **values.groupdict()}
    return None
