"""Compares the table of operations with the MLflow that is installed, and writes what to change as a patch. Pure."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from proxy.policy.server_tags import LOCATION_TAGS, SERVER_TAGS
from proxy.routes.operations import Operation
from proxy.routes.releases import TESTED, Release, numbers_of

# Routes that exist only under `mlflow server --app-name basic-auth`.
BASIC_AUTH = ("/signup", "/api/2.0/mlflow/users/", "/api/3.0/mlflow/users/", "/api/3.0/mlflow/roles/")
UNDECIDED = "nobody has decided yet whether to serve it"
REASONS_START = "REASONS: dict[str, str] = {\n"

Route = tuple[str, str]
Facts = Mapping[str, Any]


def standard_routes(installed: set[Route]) -> set[Route]:
    """Each route once: under `/api/` if MLflow also serves it there, under `/ajax-api/` if only there."""
    return {
        (method, path)
        for method, path in installed
        if not path.startswith("/ajax-api/")
        or (method, path.replace("/ajax-api/", "/api/", 1)) not in installed
    }


def new_routes(table: Iterable[Operation], installed: set[Route], release: Release) -> list[Route]:
    """Routes that the table lacks, or that it states for other releases."""
    rows = {
        (row.method, row.path)
        for row in table
        if row_exists(row, release) is not False or row.path.startswith(BASIC_AUTH)
    }
    return sorted(standard_routes(installed) - rows)


def gone_routes(table: Iterable[Operation], installed: set[Route], release: Release) -> list[Route]:
    """Rows that this release should have, and has not."""
    present = standard_routes(installed)
    return sorted(
        (row.method, row.path)
        for row in table
        if row_exists(row, release) and (row.method, row.path) not in present
        if not row.path.startswith(BASIC_AUTH)
    )


def row_exists(row: Operation, release: Release) -> bool | None:
    return release.has(since=row.since, until=row.until)


def new_fields(known: Facts, installed: Facts) -> list[str]:
    """What the installed MLflow's requests have and `fields.json` lacks: messages, fields, types, alternatives."""
    problems = []
    for route, message in installed["requests"].items():
        if known["requests"].get(route) != message:
            problems.append(f"{route} takes {message}")
    for message, types in installed["messages"].items():
        for field, kind in types.items():
            before = known["messages"].get(message, {}).get(field)
            if before is None:
                problems.append(f"{message}.{field} is new: {kind}")
            elif merge_types(before, kind) != before:
                problems.append(f"{message}.{field} was {before} and is {kind}")
    for message, groups in installed["oneofs"].items():
        for group in groups:
            if not any(set(group) <= set(other) for other in known["oneofs"].get(message, [])):
                problems.append(f"{message} takes only one of {', '.join(group)}")
    return problems


def new_tags(read: Iterable[str]) -> list[str]:
    """The tags that the installed server reads, and that `proxy.policy.server_tags` lacks."""
    return sorted(
        key for key in read if key not in LOCATION_TAGS and not any(tag.covers(key) for tag in SERVER_TAGS)
    )


def merge_facts(known: Facts, installed: Facts) -> dict[str, Any]:
    """The content of `fields.json` for all releases: a field stays that a later release drops."""
    messages = {name: dict(types) for name, types in known["messages"].items()}
    for name, types in installed["messages"].items():
        mine = messages.setdefault(name, {})
        for field, kind in types.items():
            mine[field] = merge_types(mine[field], kind) if field in mine else kind
    oneofs = {name: [list(group) for group in groups] for name, groups in known["oneofs"].items()}
    for name, groups in installed["oneofs"].items():
        for group in groups:
            kept = [other for other in oneofs.get(name, []) if not set(other) <= set(group)]
            is_covered = any(set(group) <= set(other) for other in kept)
            oneofs[name] = kept if is_covered else [*kept, group]
    releases = {release_name(facts["mlflow"]) for facts in (known, installed) if facts.get("mlflow")}
    return {
        "mlflow": max(releases, key=numbers_of),
        "requests": dict(sorted({**known["requests"], **installed["requests"]}.items())),
        "messages": {name: messages[name] for name in sorted(messages)},
        "oneofs": {name: oneofs[name] for name in sorted(oneofs)},
    }


def release_name(version: str) -> str:
    return ".".join(version.split(".")[:2])


def merge_types(before: str, after: str) -> str:
    """The type of a field in two releases: an enum takes the names of both, any other type is the later one's."""
    head, mark, values = after.partition("enum ")
    known_head, known_mark, known = before.partition("enum ")
    if not (mark and known_mark and head == known_head):
        return after
    names = known.split("|")
    return f"{head}enum {'|'.join([*names, *(name for name in values.split('|') if name not in names)])}"


def format_patch(
    sources: Mapping[str, str], new: Iterable[Route], gone: Iterable[Route], release: Release
) -> str:
    """A unified diff for `git apply`: new routes are refused until somebody decides, rows that are gone get `until=`.
    `sources` are the texts of the table's files by path."""
    name = release_name(release.text)
    patched = dict(sources)
    for path, text in sources.items():
        if path.endswith("releases.py") and name not in TESTED:
            patched[path] = text.replace(f'"{TESTED[-1]}")', f'"{TESTED[-1]}", "{name}")', 1)
        elif REASONS_START in text:
            rows = "".join(f"        {method:6} {route} since={name}\n" for method, route in new)
            section = f'    "{UNDECIDED}": """\n{rows}    """,\n'
            patched[path] = text.replace(REASONS_START, REASONS_START + section, 1) if rows else text
    older = [release for release in TESTED if numbers_of(release) < numbers_of(name)]
    for method, route in gone if older else ():
        patched = {path: end_row(text, method, route, older[-1]) for path, text in patched.items()}
    return "".join(
        line
        for path, text in sources.items()
        for line in difflib.unified_diff(
            text.splitlines(keepends=True), patched[path].splitlines(keepends=True), f"a/{path}", f"b/{path}"
        )
    )


def end_row(text: str, method: str, route: str, last: str) -> str:
    """The text with `until=` at the row of this route, if it has the row."""
    lines = text.splitlines(keepends=True)
    for index, line in enumerate(lines):
        words = line.split()
        if words[:2] == [method, route] or words[1:3] == [method, route]:
            lines[index] = f"{line.rstrip()} until={last}\n"
    return "".join(lines)
