"""Reads the notation of `proxy.routes.served` into operations. Pure."""

import re

from keys.rights.scopes import Scope
from proxy.routes.operations import ObjectField, Operation
from proxy.routes.releases import TESTED

ROW_START = re.compile(r"\n(?=\s*[\w-]+(?:\.[\w-]+)+\s+[A-Z]+\s)")


def parse_table(table: dict[tuple[Scope, ...], str], *, only_browsers: str = "") -> tuple[Operation, ...]:
    """The rows of a table; `only_browsers` states why no key reaches them, "" if keys do."""
    return tuple(
        parse_row(row, scopes, only_browsers)
        for scopes, text in table.items()
        for row in ROW_START.split(text.strip())
    )


def parse_row(row: str, scopes: tuple[Scope, ...], only_browsers: str) -> Operation:
    name, method, path, *notes = row.split()
    fields: dict[str, list[str]] = {}
    for note in notes:
        role, _, field = note.partition("=")
        fields.setdefault(role, []).append(field)
    created = parse_fields(fields.pop("new", []))
    operation = Operation(
        name=name,
        method=method,
        path=path,
        scopes=scopes,
        refused=only_browsers,
        for_browsers=bool(only_browsers),
        targets=parse_fields(fields.pop("on", [])),
        parents=parse_fields(fields.pop("in", [])),
        claims=parse_fields(fields.pop("claim", [])),
        references=parse_fields(fields.pop("ref", [])),
        created=created[0] if created else None,
        tags=tuple(fields.pop("tag", [])),
        since=parse_release(fields, "since"),
        until=parse_release(fields, "until"),
    )
    if fields:
        raise ValueError(f"{name}: unknown notes {', '.join(fields)}")
    return operation


def parse_refused(reasons: dict[str, str]) -> tuple[Operation, ...]:
    """The rows of the table of refused routes: `METHOD /path`, perhaps with `since=` and `until=`."""
    operations = []
    for reason, routes in reasons.items():
        for row in routes.strip().splitlines():
            method, path, *notes = row.split()
            fields = {role: [value] for role, _, value in (note.partition("=") for note in notes)}
            since, until = parse_release(fields, "since"), parse_release(fields, "until")
            if fields:
                raise ValueError(f"{method} {path}: unknown notes {', '.join(fields)}")
            name = f"{method} {path}"
            operations.append(
                Operation(name=name, method=method, path=path, refused=reason, since=since, until=until)
            )
    return tuple(operations)


def parse_release(fields: dict[str, list[str]], role: str) -> str:
    """`since` or `until`, taken out of a row's notes. Raises ValueError for a release that is not in the list."""
    [release] = fields.pop(role, [""])
    if release and release not in TESTED:
        raise ValueError(f"not a tested release: {release}")
    return release


def parse_fields(notes: list[str]) -> tuple[ObjectField, ...]:
    """Object fields from their notation KIND:FIELD."""
    return tuple(
        ObjectField(kind=kind, field=field) for kind, _, field in (note.partition(":") for note in notes)
    )
