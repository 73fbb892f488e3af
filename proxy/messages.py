"""The JSON of a request, read as MLflow reads it, or refused. Pure.

MLflow 3.17 takes field names in snake_case and camelCase, a JSON string that holds JSON, the last of two
equal keys, and UTF-16; and where its parser stumbles over a value it goes on with what it has read so far
(mlflow/server/handlers.py, `_get_request_message`). Whoever checks a request must read all of it, so here
every value has to be of its field's type, every key stands once, and the rest is refused.

`proxy/fields.json` holds the types of MLflow's messages; `manage.py mlflow_table --write` makes it.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from keys.refusals import Refusal, invalid
from proxy.operations import Operation

FIELDS = Path(__file__).parent / "fields.json"
INTEGER = re.compile(r"-?[0-9]{1,19}")
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|NaN|-?Infinity")
CANONICAL_INTEGER = re.compile(r"0|[1-9][0-9]{0,17}")

Json = dict[str, Any]
Types = Mapping[str, Mapping[str, str]]


def read(operation: Operation, body: bytes) -> Json:
    """The request's fields by their snake_case names, unknown ones left out (MLflow ignores them).

    Raises Refusal (400) for what is not certain to be read by MLflow in the same way.
    """
    content = decode(body)
    message = requests().get(f"{operation.method} {operation.path}")
    if message is None:
        return content
    return check(content, message, "")


def decode(body: bytes) -> Json:
    """The JSON object in `body`, also if it is wrapped in a JSON string."""
    if not body.strip():
        return {}
    try:
        if b"\0" in body:
            raise ValueError("it holds NUL bytes")
        content = strictly(body.decode("utf-8"))
        if isinstance(content, str):
            content = strictly(content)
    except UnicodeDecodeError:
        raise unreadable("it is not UTF-8") from None
    except RecursionError:
        raise unreadable("it is nested too deeply") from None
    except ValueError as error:
        raise unreadable(str(error)) from None
    if not isinstance(content, dict):
        raise unreadable("it is not a JSON object")
    return content


def strictly(text: str) -> Any:
    return json.loads(text, object_pairs_hook=each_once)


def each_once(pairs: list[tuple[str, Any]]) -> Json:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key stands in it twice")
    return content


def unreadable(problem: str) -> Refusal:
    return invalid(
        "unreadable_body",
        f"The request's JSON cannot be read for certain: {problem}. Send plain UTF-8 JSON with each key once, "
        "as MLflow's client does.",
    )


@cache
def facts() -> Json:
    return dict(json.loads(FIELDS.read_text()))


def requests() -> Mapping[str, str]:
    """`METHOD /api/…` -> the message that its body is."""
    return facts()["requests"]  # type: ignore[no-any-return]


@cache
def names(message: str) -> dict[str, str]:
    """Every spelling of a message's fields that MLflow accepts -> the field's name."""
    fields = facts()["messages"][message]
    return {spelling: name for name in fields for spelling in (name, camel_case(name))}


def camel_case(name: str) -> str:
    """A field's JSON name as protobuf makes it (descriptor.cc, ToJsonName)."""
    return re.sub(r"_+([a-z])", lambda match: match[1].upper(), name).replace("_", "")


def check(content: Any, message: str, where: str) -> Json:
    """`content` as this message, names in snake_case, each value of its type."""
    if not isinstance(content, dict):
        raise wrong(where, "an object")
    types, spelled = facts()["messages"][message], names(message)
    checked: Json = {}
    for key, value in content.items():
        name = spelled.get(key)
        if name is None or value is None:
            continue
        if name in checked:
            raise unreadable(f"“{where}{name}” stands in it in two spellings")
        checked[name] = check_value(value, types[name], f"{where}{name}")
    for alternatives in facts()["oneofs"].get(message, []):
        if len(set(alternatives) & set(checked)) > 1:
            raise unreadable(f"only one of {', '.join(alternatives)} may stand in “{where}”")
    return checked


def check_value(value: Any, kind: str, where: str) -> Any:
    container, _, element = kind.partition(" ")
    if container == "repeated":
        if not isinstance(value, list):
            raise wrong(where, "a list")
        return [check_value(item, element, f"{where}[]") for item in value]
    if container == "map":
        if not isinstance(value, dict):
            raise wrong(where, "an object")
        return {key: check_value(item, element, f"{where}{{}}") for key, item in value.items()}
    if container == "enum":
        if value in element.split("|") or is_integer(value):
            return value
        raise wrong(where, f"one of {element.replace('|', ', ')}")
    if kind in facts()["messages"]:
        return check(value, kind, f"{where}.")
    return check_scalar(value, kind, where)


def check_scalar(value: Any, kind: str, where: str) -> Any:
    is_good = CHECKS.get(kind, is_text)  # Timestamp, Duration and FieldMask are strings in JSON
    if not is_good(value):
        wanted = {"string": "text", "int": "a whole number", "double": "a number"}
        raise wrong(where, wanted.get(kind, f"a {kind}"))
    return value


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_integer(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, float):
        return value.is_integer() and abs(value) < 2**53
    return isinstance(value, int) or (isinstance(value, str) and INTEGER.fullmatch(value) is not None)


def is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int | float) or (isinstance(value, str) and NUMBER.fullmatch(value) is not None)


CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "string": is_text,
    "bool": lambda value: isinstance(value, bool),
    "int": is_integer,
    "double": is_number,
    "google.protobuf.Value": lambda value: True,
    "google.protobuf.Struct": lambda value: isinstance(value, dict),
    "google.protobuf.ListValue": lambda value: isinstance(value, list),
}


def wrong(where: str, wanted: str) -> Refusal:
    return unreadable(f"“{where.rstrip('.')}” has to be {wanted}")


def values(content: Any, field: str) -> Iterator[Any]:
    """What stands at `field` (`a.b`, `a[].b`, the keys of `a{}`): each value that is there."""
    if content is None:
        return
    if not field:
        yield content
        return
    head, _, rest = field.partition(".")
    name = head.rstrip("[]{}")
    inner = content.get(name) if isinstance(content, dict) else None
    if inner is None:
        return
    if head.endswith("{}"):
        yield from keys_of(inner)
    elif head.endswith("[]"):
        for item in inner:
            yield from values(item, rest)
    else:
        yield from values(inner, rest)


def keys_of(value: Any) -> Iterator[str]:
    """The keys of a map, also of one in a JSON string (datasets' tags)."""
    if isinstance(value, str):
        try:
            value = strictly(value)
        except (ValueError, RecursionError) as error:
            raise unreadable(str(error)) from None
    if isinstance(value, dict):
        yield from value
