"""A file of keys of another system, as `manage.py import_keys` reads it: JSON Lines, or CSV with a header.

No message repeats a value of the file: it might be a secret in the wrong column.
"""

import csv
import datetime
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.utils.dateparse import parse_date, parse_datetime

from keys.actions import ActionError
from keys.actions.issuing import ImportedSecret
from keys.actions.rights import parse_network
from keys.credentials import tokens
from keys.formatting import strict_json
from keys.rights.scopes import DEFAULT_PRESET, Scope, parse_scopes
from proxy.request.messages import CANONICAL_INTEGER
from proxy.routes.objects import ObjectRef

REQUIRED = ("user", "name")
TEXTS = ("user", "email", "organisation", "name", "purpose", "expires_at", "key", "digest", "prefix", "last4")
LISTS = ("scopes", "networks", "patterns", "models", "experiments")  # in CSV separated by semicolons
FIELDS = (*TEXTS, *LISTS)
VALIDATORS: dict[str, Callable[[Iterable[str]], object]] = {
    "scopes": parse_scopes,
    "networks": lambda parts: [parse_network(part) for part in parts],
}
WORDS = {
    "scopes": f"names of {', '.join(Scope)}",
    "networks": "networks such as 10.1.0.0/16 or 2001:db8::/32",
}
LONGEST = {"name": 100, "purpose": 500, "models": 500}
NEW_KEY = "It cannot be taken over: issue a new key to this user (issue_key), who replaces the old one"


@dataclass(frozen=True, kw_only=True)
class KeyLine:
    """One line, valid by itself. `organisation` "": the user's only one, or `shared`."""

    number: int
    user: str
    email: str
    organisation: str
    name: str
    purpose: str
    scopes: tuple[str, ...]
    networks: tuple[str, ...]
    patterns: tuple[str, ...]
    expires_at: datetime.datetime | None
    secret: ImportedSecret
    is_by_digest: bool
    objects: tuple[ObjectRef, ...]


def read_lines(path: Path) -> tuple[list[KeyLine], dict[int, str]]:
    """The valid lines, and by its number what is wrong with each other line. Raises OSError, and ActionError for a file
    that cannot be read as lines at all."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ActionError("the file is not UTF-8; convert it first") from None
    rows = read_csv(text) if path.suffix.lower() == ".csv" else read_json(text)
    lines, problems, seen = list[KeyLine](), dict[int, str](), dict[str, int]()
    for number, row in rows:
        try:
            line = parse_line(number, row)
            if same := next((seen[mark] for mark in line.secret.marks if mark in seen), None):
                raise ActionError(f"it has the same key as line {same}; remove one of the two")
        except ActionError as error:
            problems[number] = str(error)
            continue
        seen |= dict.fromkeys(line.secret.marks, number)
        lines.append(line)
    return lines, problems


Row = dict[str, Any] | str  # of a line that cannot be read: why not


def read_json(text: str) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            content = strict_json.loads(line)
        except (ValueError, RecursionError):
            yield number, "it is not JSON; write one object on each line, with each field once"
            continue
        yield number, content if isinstance(content, dict) else "it is not a JSON object, such as {…}"


def read_csv(text: str) -> Iterator[tuple[int, Row]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    while True:
        number = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error:
            raise ActionError(
                f"line {number}: it is not CSV; a quotation mark is missing or doubled"
            ) from None
        if header is None:
            header = [name.strip() for name in values]
            if len(set(header)) < len(header) or set(header) - set(FIELDS):
                raise ActionError(f"line 1: it names the columns, each once, of {', '.join(FIELDS)}")
        elif not any(values):
            continue
        elif len(values) != len(header):
            yield number, f"it has {len(values)} values, and the first line names {len(header)} columns"
        else:
            yield (
                number,
                {
                    name: split_list(value) if name in LISTS else value
                    for name, value in zip(header, values, strict=True)
                },
            )


def split_list(text: str) -> list[str] | None:
    """The parts of a cell; None for an empty one."""
    return [part.strip() for part in text.split(";") if part.strip()] or None


def parse_line(number: int, row: Row) -> KeyLine:
    """Raises ActionError, which says what to do."""
    if isinstance(row, str):
        raise ActionError(row)
    if unknown := [str(position) for position, name in enumerate(row, 1) if name not in FIELDS]:
        raise ActionError(f"unknown field, at position {', '.join(unknown)}; there are {', '.join(FIELDS)}")
    values = {name: value for name, value in row.items() if value not in (None, "")}
    validate_shape(values)
    secret = parse_secret(values)
    return KeyLine(
        number=number,
        user=values["user"].strip(),
        email=values.get("email", "").strip(),
        organisation=values.get("organisation", "").strip(),
        name=values["name"].strip(),
        purpose=values.get("purpose", "").strip(),
        scopes=tuple(values.get("scopes", DEFAULT_PRESET.scopes)),
        networks=tuple(values.get("networks", ())),
        patterns=tuple(values.get("patterns", ())),
        expires_at=parse_expiry(values["expires_at"]) if "expires_at" in values else None,
        secret=secret,
        is_by_digest="digest" in values,
        objects=tuple(parse_objects(values)),
    )


def validate_shape(values: dict[str, Any]) -> None:
    for name, value in values.items():
        parts = value if isinstance(value, list) and name in LISTS else [value]
        if (name in LISTS) != isinstance(value, list) or not all(isinstance(part, str) for part in parts):
            raise ActionError(f"{name}: write {'a list of texts' if name in LISTS else 'a text'}")
        if any("\0" in part for part in parts):
            raise ActionError(f"{name}: it contains a NUL character")
        if name != "key" and any(tokens.hide(part) != part for part in parts):
            raise ActionError(f"{name}: it contains an API key, which belongs into the field key alone")
        if any(len(part) > LONGEST.get(name, 500) for part in parts):
            raise ActionError(f"{name}: it has more than {LONGEST.get(name, 500)} characters")
    for name, validate in VALIDATORS.items():
        try:
            is_empty = not validate(values.get(name, ()))
        except ValueError:
            is_empty = True
        if is_empty and name in values:
            raise ActionError(f"{name}: write {WORDS[name]}, or leave the field out")
    for name in REQUIRED:
        if not str(values.get(name, "")).strip():
            raise ActionError(f"{name}: it is missing")


def parse_secret(values: dict[str, Any]) -> ImportedSecret:
    if ("key" in values) == ("digest" in values):
        raise ActionError("give key, or digest with prefix and last4, and not both")
    if "key" in values:
        try:
            return ImportedSecret.of_token(tokens.parse(values["key"]))
        except tokens.InvalidToken:
            is_mistyped = tokens.KEY_PATTERN.fullmatch(values["key"])
        form = "a key here is hk_live_ or hk_test_, followed by 32 letters and digits"
        raise ActionError(f"key: {'its checksum does not match' if is_mistyped else form}. {NEW_KEY}")
    digest, prefix, last4 = values["digest"].lower(), values.get("prefix", ""), values.get("last4", "")
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ActionError("digest: write the HMAC-SHA-256 of the whole key as 64 hexadecimal digits")
    environment = re.fullmatch(r"hk_(live|test)_[0-9A-Za-z]{4}", prefix)
    if environment is None:
        raise ActionError(
            "prefix: write the key's first 12 characters, such as hk_live_4fGh. If it does not begin with hk_live_ or "
            f"hk_test_: {NEW_KEY[0].lower()}{NEW_KEY[1:]}"
        )
    if not re.fullmatch(r"[0-9A-Za-z]{4}", last4):
        raise ActionError("last4: write the key's last four characters")
    return ImportedSecret(environment=environment[1], digests=(digest,), prefix=prefix, last4=last4)


def parse_expiry(text: str) -> datetime.datetime:
    """The time, or the beginning of the day (UTC)."""
    try:
        at, day = parse_datetime(text), parse_date(text)
    except ValueError:
        at = day = None
    if day is not None:
        return datetime.datetime.combine(day, datetime.time(), datetime.UTC)
    if at is None or at.tzinfo is None:
        raise ActionError(
            "expires_at: write 2027-01-31 (UTC) or 2027-01-31T14:30:00Z; leave it out for never"
        )
    return at


def parse_objects(values: dict[str, Any]) -> Iterator[ObjectRef]:
    for name in values.get("models", []):
        yield ObjectRef(kind="registered_model", name=name)
    for name in values.get("experiments", []):
        if not CANONICAL_INTEGER.fullmatch(name):
            raise ActionError(
                "experiments: write their ids, which are numbers; mlflow experiments search lists them"
            )
        yield ObjectRef(kind="experiment", name=name)
