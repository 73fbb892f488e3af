"""Writes the table of operations as a Markdown page (docs/operations.md). Pure."""

from collections.abc import Sequence

from proxy.routes.operations import ObjectField, Operation
from proxy.routes.releases import TESTED

HEAD = f"""# MLflow's routes

The portal refuses every route that is not in these tables, with 404 `ENDPOINT_NOT_FOUND`. If MLflow serves a route
under both `/api/` and `/ajax-api/`, the table lists the first, and the portal serves both. A route needs all of its
scopes. "Acts on" lists the objects that the key's user must own. For "in", the experiment must belong to the user
or be shared; "new" is what the route creates; "names" is what must exist in the caller's organisation. "MLflow" states
from which of the tested releases to which the route exists; an empty cell stands for all of them ({", ".join(TESTED)}).

`manage.py mlflow_table --write` generates this page from `proxy/routes/served.py` and `proxy/routes/refused.py`.
"""


def format_page(operations: Sequence[Operation]) -> str:
    served = [operation for operation in operations if not operation.refused]
    pages = [operation for operation in operations if operation.for_browsers]
    refused = [operation for operation in operations if operation.refused and not operation.for_browsers]
    lines = [HEAD, f"## Served: {len(served)} routes", ""]
    lines += ["| operation | method and path | scope | acts on | MLflow |", "|---|---|---|---|---|"]
    lines += [format_row(operation) for operation in served]
    lines += [
        "",
        f"## MLflow's own pages: {len(pages)} routes, only for signed-in browsers below `/mlflow/`",
        "",
    ]
    lines += ["| operation | method and path | scope | acts on | MLflow |", "|---|---|---|---|---|"]
    lines += [format_row(operation) for operation in pages]
    lines += ["", f"## Closed to everybody: {len(refused)} routes", ""]
    lines += ["| method and path | reason | MLflow |", "|---|---|---|"]
    lines += [
        f"| `{operation.method} {operation.path}` | {operation.refused} | {format_releases(operation)} |"
        for operation in refused
    ]
    return "\n".join(lines) + "\n"


def format_row(operation: Operation) -> str:
    scopes = ", ".join(f"`{scope}`" for scope in operation.scopes) or "any key"
    acts = [
        *(format_field(field) for field in operation.targets),
        *(f"in {format_field(field)}" for field in operation.parents),
        *(f"new {format_field(field)}" for field in operation.claims),
        *([f"new {operation.created.kind}"] if operation.created else []),
        *(f"names {format_field(field)}" for field in operation.references),
    ]
    route, releases = f"`{operation.method} {operation.path}`", format_releases(operation)
    return f"| {operation.name} | {route} | {scopes} | {'; '.join(acts)} | {releases} |"


def format_releases(operation: Operation) -> str:
    parts = [f"from {operation.since}"] if operation.since else []
    return " ".join([*parts, f"to {operation.until}"] if operation.until else parts)


def format_field(field: ObjectField) -> str:
    return f"{field.kind} `{field.field}`"
