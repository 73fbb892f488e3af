"""From (method, path) to the operation of MLflow's that it is. Pure.

The table is in `proxy.routes.served`; what is not in it is refused. Matching walks the path's segments, so its cost
depends on the path's length, not on the table's.
"""

import re
from dataclasses import dataclass, field
from functools import cache

from keys.credentials.tokens import hide
from keys.refusals import Refusal, forbidden
from keys.rights.scopes import Scope

HINT = (
    "The tracking URI is the portal's address followed by /api/mlflow, once; see whether your MLflow version is "
    "newer than ours."
)
PARAMETER = re.compile(r"\{\w+\}")  # a segment that is one parameter


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an operation names an object: the kind of thing, and the field, parameter or header."""

    kind: str
    field: str


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One row of the table, as `proxy.routes.served` explains it.

    `path` is MLflow's standard one (`/api/…` where there are two mounts). `scopes` are what a key needs, all
    of them (none: any key will do). `refused` says in words why no key may call it; "" if keys may. What is
    `for_browsers` the sessions of signed-in people reach all the same.
    """

    name: str
    method: str
    path: str
    scopes: tuple[Scope, ...] = ()
    refused: str = ""
    for_browsers: bool = False
    targets: tuple[Place, ...] = ()
    parents: tuple[Place, ...] = ()
    claims: tuple[Place, ...] = ()
    created: Place | None = None
    tags: tuple[str, ...] = ()

    @property
    def is_streamed(self) -> bool:
        """MLflow takes the body as it comes; its other routes want it whole, with its length (Flask behind
        Starlette's bridge sees a chunked body as an empty one)."""
        return self.name == "artifacts.upload"

    @property
    def is_read(self) -> bool:
        return all(scope.endswith(":read") for scope in self.scopes)

    @property
    def names_objects(self) -> bool:
        """Whether its request must be read to know what it acts on."""
        return bool(self.targets or self.parents or self.claims or self.created or self.tags)


def parse(table: dict[tuple[Scope, ...], str], *, only_browsers: str = "") -> tuple[Operation, ...]:
    """The rows of a table written as `proxy.routes.served` writes it; `only_browsers` says why no key reaches them."""
    found = []
    for scopes, text in table.items():
        for row in re.split(r"\n(?=\s*[\w-]+(?:\.[\w-]+)+\s+[A-Z]+\s)", text.strip()):
            name, method, path, *notes = row.split()
            places: dict[str, list[str]] = {}
            for note in notes:
                role, _, place = note.partition("=")
                places.setdefault(role, []).append(place)
            created = kinds(places.pop("new", []))
            found.append(
                Operation(
                    name=name,
                    method=method,
                    path=path,
                    scopes=scopes,
                    refused=only_browsers,
                    for_browsers=bool(only_browsers),
                    targets=kinds(places.pop("on", [])),
                    parents=kinds(places.pop("in", [])),
                    claims=kinds(places.pop("claim", [])),
                    created=created[0] if created else None,
                    tags=tuple(places.pop("tag", [])),
                )
            )
            if places:
                raise ValueError(f"{name}: unknown notes {', '.join(places)}")
    return tuple(found)


def kinds(places: list[str]) -> tuple[Place, ...]:
    return tuple(
        Place(kind=kind, field=field) for kind, _, field in (place.partition(":") for place in places)
    )


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


ARTIFACTS = "/mlflow-artifacts/artifacts/"


def is_transfer(method: str, path: str) -> bool:
    """Whether a call moves an artifact's bytes; such calls are limited apart from the others."""
    return ARTIFACTS in path and method in ("GET", "PUT", "HEAD")


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
    from proxy.routes.served import OPERATIONS

    return tree(OPERATIONS)


def match(method: str, path: str, *, by_browser: bool = False) -> Match:
    """The operation behind a checked, decoded path (`proxy.request.paths.decode`), without its mount.

    Raises Refusal: 404 ENDPOINT_NOT_FOUND if MLflow has no such route, 403 if it is closed to every key, and
    to browsers (`by_browser`: it is a signed-in person's) too.
    """
    found = None
    for candidate in ["/"] if by_browser and path == "/" else candidates(path):
        root = table().get(method)
        if root and (found := walk(root, candidate.strip("/").split("/"), 0, {})):
            break
    if found is None:
        others = methods(path)
        hint = f"This path takes {' or '.join(others)}." if others else HINT
        raise Refusal(
            status=404,
            error_code="ENDPOINT_NOT_FOUND",
            reason="not_a_route",
            message=f"{hide(f'{method} {path}')} is not a route of MLflow's that this registry serves. {hint}",
        )
    operation, arguments = found
    if operation.for_browsers and not by_browser:
        raise forbidden("ui_not_served", f"{operation.name} is closed to every API key: {operation.refused}.")
    if operation.refused and not operation.for_browsers:
        whom = "here" if by_browser else "to every API key"
        raise forbidden("route_refused", f"{operation.name} is closed {whom}: {operation.refused}.")
    return Match(operation=operation, path=candidate, arguments=arguments)


def methods(path: str) -> list[str]:
    """The methods that a path takes; none for a path that the table lacks."""
    return sorted(
        method
        for method, root in table().items()
        for candidate in candidates(path)
        if (found := walk(root, candidate.strip("/").split("/"), 0, {})) and not found[0].refused
    )


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
