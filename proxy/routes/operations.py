"""The types of the table of MLflow's operations: a row, and a row that a request matched. Pure."""

from dataclasses import dataclass
from functools import cached_property

from keys.rights.scopes import Scope

# In names of operations whose cost grows with the amount of data that they read.
SEARCH_WORDS = ("search", "history", "graphql", "list", "metrics", "batch", "correlation", "records")


@dataclass(frozen=True, kw_only=True)
class ObjectField:
    """Where an operation names an object: the object's kind, and the JSON field, path parameter or header."""

    kind: str
    field: str


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One row of the table; `proxy.routes.served` explains the notation.

    `path` is MLflow's standard path (`/api/…` where MLflow has two mounts). A key needs all of `scopes` (none:
    any key may call it). `refused` states why no key may call it; "" if keys may. If `for_browsers` is set,
    the sessions of signed-in people reach the operation although keys do not. `since` and `until` are the first and the
    last of the releases in `proxy.routes.releases` that have the route; "" if the oldest or the newest has it.
    """

    name: str
    method: str
    path: str
    scopes: tuple[Scope, ...] = ()
    refused: str = ""
    for_browsers: bool = False
    targets: tuple[ObjectField, ...] = ()
    parents: tuple[ObjectField, ...] = ()
    claims: tuple[ObjectField, ...] = ()
    references: tuple[ObjectField, ...] = ()
    created: ObjectField | None = None
    tags: tuple[str, ...] = ()
    since: str = ""
    until: str = ""

    @cached_property
    def is_streamed(self) -> bool:
        """Whether MLflow reads the body as a stream. Its other routes need the whole body and its length: Flask
        behind Starlette's bridge treats a chunked body as empty."""
        return self.name == "artifacts.upload"

    @cached_property
    def is_read(self) -> bool:
        return all(scope.endswith(":read") for scope in self.scopes)

    @cached_property
    def is_search(self) -> bool:
        """Whether MLflow reads an amount of data that the call does not name, such as all runs of an experiment."""
        return self.is_read and any(word in self.name for word in SEARCH_WORDS)

    @cached_property
    def is_registry_write(self) -> bool:
        return not self.is_read and self.scopes[0].startswith("registry:")

    @cached_property
    def names_objects(self) -> bool:
        """Whether the portal must read the request to know which objects it acts on."""
        return bool(
            self.targets or self.parents or self.claims or self.references or self.created or self.tags
        )


@dataclass(frozen=True, kw_only=True)
class Match:
    """An operation, the path to forward (decoded) and the values of the path's parameters."""

    operation: Operation
    path: str
    arguments: dict[str, str]
