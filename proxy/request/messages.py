"""Reads the JSON of a request as MLflow reads it, or refuses it. Pure.

MLflow 3.17 accepts field names in snake_case and camelCase, JSON inside of a JSON string, repeated keys and several
encodings; it may also act on an incomplete message if it cannot parse a value (mlflow/server/handlers.py,
`_get_request_message`). A check is valid only for a message that MLflow reads completely. So every value must have its
field's type, no key may be repeated, and everything else is refused.

`proxy.routes.message_types` holds the types of MLflow's messages.
"""

import datetime
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from keys.formatting import strict_json
from keys.refusals import Refusal, invalid
from proxy.request import structure
from proxy.routes.limits import most_values
from proxy.routes.message_types import field_names, load_types, messages_by_request
from proxy.routes.operations import Operation

INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,19})")
SURROGATE = re.compile("[\\ud800-\\udfff]")
BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-2][0-9]:[0-5][0-9])"
)
DURATION = re.compile(r"-?[0-9]{1,11}(\.[0-9]{1,9})?s")
FIELD_MASK = re.compile(
    r"([a-z][A-Za-z0-9]*(\.[a-z][A-Za-z0-9]*)*(,[a-z][A-Za-z0-9]*(\.[a-z][A-Za-z0-9]*)*)*)?"
)
MOST_DOUBLE, MOST_SINGLE = 1.7e308, 3.4e38
DEPTH = 60  # levels of nesting; protobuf's JSON parser goes to 100
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|NaN|-?Infinity")
# Metrics' whole numbers, which R's and other clients send as 1e+05 or with a fraction. Where MLflow cannot read one, it
# leaves it and what follows out. In these messages, what follows is a part of what was checked.
METRIC_NUMBERS = frozenset(
    (message, field) for message in ("mlflow.LogMetric", "mlflow.Metric") for field in ("step", "timestamp")
)
CANONICAL_INTEGER = re.compile(r"0|[1-9][0-9]{0,17}")

Json = dict[str, Any]
Types = Mapping[str, Mapping[str, str]]


def read(operation: Operation, body: bytes) -> Json:
    """The request's fields by their snake_case names, without unknown ones (MLflow ignores them).

    Raises Refusal: 400 for a body that MLflow may read in another way, 413 for one with too many values.
    """
    content = decode(body, most=most_values(operation))
    message = messages_by_request().get(f"{operation.method} {operation.path}")
    if message is None:
        return content
    return validate(content, message, "")


def decode(body: bytes, *, most: int | None = None) -> Json:
    """The JSON object in `body`, which may be wrapped in a JSON string. `most`: see `structure.check`."""
    if not body.strip():
        return {}
    try:
        if b"\0" in body:
            raise ValueError("it contains NUL bytes")
        if most is not None:
            structure.check(body, most=most)
        content = strict_json.loads(body.decode("utf-8"))
        if isinstance(content, str):
            if most is not None:
                structure.check(content.encode("utf-8", "surrogatepass"), most=most)
            content = strict_json.loads(content)
    except UnicodeDecodeError:
        raise unreadable("it is not UTF-8") from None
    except RecursionError:
        raise unreadable("it is nested too deeply") from None
    except ValueError as error:
        raise unreadable(str(error)) from None
    if not isinstance(content, dict):
        raise unreadable("it is not a JSON object")
    return content


def unreadable(problem: str) -> Refusal:
    return invalid(
        "unreadable_body",
        f"The request's JSON cannot be read unambiguously: {problem}. Send plain UTF-8 JSON with each key once, "
        "and NaN and Infinity as text, as MLflow's client does.",
    )


def validate(content: Any, message: str, where: str) -> Json:
    """`content` as this message: names in snake_case, each value of its type. `where` is its field, for refusals."""
    if not isinstance(content, dict):
        raise wrong(where, "an object")
    types, spellings = load_types()["messages"][message], field_names(message)
    validated: Json = {}
    for key, value in content.items():
        name = spellings.get(key)
        if name is None or value is None:
            continue
        if name in validated:
            raise unreadable(f"it contains “{where}{name}” in two spellings")
        if (message, name) in METRIC_NUMBERS and is_metric_number(value):
            validated[name] = value
        else:
            validated[name] = validate_value(value, types[name], f"{where}{name}")
    for alternatives in load_types()["oneofs"].get(message, []):
        if len(set(alternatives) & set(validated)) > 1:
            raise unreadable(f"“{where}” may contain only one of {', '.join(alternatives)}")
    return validated


def validate_value(value: Any, kind: str, where: str) -> Any:
    container, _, element = kind.partition(" ")
    if container == "repeated":
        if not isinstance(value, list):
            raise wrong(where, "a list")
        return [validate_value(item, element, f"{where}[]") for item in value]
    if container == "map":
        if not isinstance(value, dict):
            raise wrong(where, "an object")
        if not all(is_text(key) for key in value):
            raise wrong(where, "an object whose keys are text")
        return {key: validate_value(item, element, f"{where}{{}}") for key, item in value.items()}
    if container == "enum":
        known = element.split("|")
        if not isinstance(value, bool) and isinstance(value, str | int) and str(value) in known:
            return value
        raise wrong(where, f"one of {', '.join(known[::2])}")
    if where.count(".") > DEPTH:
        raise unreadable("it is nested too deeply")
    if kind in load_types()["messages"]:
        return validate(value, kind, f"{where}.")
    return validate_scalar(value, kind, where)


def validate_scalar(value: Any, kind: str, where: str) -> Any:
    is_valid = CHECKS.get(kind)
    if is_valid is None or not is_valid(value):
        wanted = {"string": "text", "double": "a number", "bool": "true or false"}
        raise wrong(where, wanted.get(kind, f"{kind}, in its range"))
    return value


def is_text(value: Any) -> bool:
    """Whether UTF-8 and PostgreSQL can store the text: no half of a surrogate pair, no NUL."""
    return isinstance(value, str) and "\0" not in value and not SURROGATE.search(value)


def is_integer(least: int, most: int) -> Callable[[Any], bool]:
    """A predicate for whole numbers in the range, written as number or text."""

    def check(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return False
        if isinstance(value, str) and not INTEGER.fullmatch(value):
            return False
        if isinstance(value, float) and not (value.is_integer() and abs(value) < 2**53):
            return False
        return least <= int(value) <= most

    return check


def is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, str):
        return NUMBER.fullmatch(value) is not None and (value[-1] in "Ny" or math.isfinite(float(value)))
    return isinstance(value, int | float) and -MOST_DOUBLE <= value <= MOST_DOUBLE


def is_metric_number(value: Any) -> bool:
    """Whether it is a number in the range of int64, in any notation."""
    return is_number(value) and value not in ("NaN", "Infinity", "-Infinity") and abs(float(value)) < 2**63


def is_single(value: Any) -> bool:
    """Whether a 32-bit float can hold the number."""
    return is_number(value) and (isinstance(value, str) or abs(value) <= MOST_SINGLE)


def is_base64(value: Any) -> bool:
    return is_text(value) and len(value) % 4 == 0 and BASE64.fullmatch(value) is not None


def is_time(value: Any) -> bool:
    """Whether it is RFC 3339 as protobuf's Timestamp accepts it, with a year from 1 to 9999."""
    if not is_text(value) or not TIMESTAMP.fullmatch(value):
        return False
    try:
        datetime.datetime.fromisoformat(value[:19])
    except ValueError:
        return False
    return True


def is_plain(value: Any, depth: int = 0) -> bool:
    """Whether it is JSON of protobuf's Value, nested no deeper than its parser accepts."""
    if depth > DEPTH:
        return False
    if isinstance(value, str):
        return is_text(value)
    if isinstance(value, list):
        return all(is_plain(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return all(is_text(key) and is_plain(item, depth + 1) for key, item in value.items())
    return value is None or isinstance(value, bool) or is_number(value)


CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "string": is_text,
    "bytes": is_base64,
    "bool": lambda value: isinstance(value, bool),
    "int32": is_integer(-(2**31), 2**31 - 1),
    "int64": is_integer(-(2**63), 2**63 - 1),
    "uint32": is_integer(0, 2**32 - 1),
    "uint64": is_integer(0, 2**64 - 1),
    "double": is_number,
    "float": is_single,
    "google.protobuf.Timestamp": is_time,
    "google.protobuf.Duration": lambda value: is_text(value) and DURATION.fullmatch(value) is not None,
    "google.protobuf.FieldMask": lambda value: is_text(value) and FIELD_MASK.fullmatch(value) is not None,
    "google.protobuf.Value": is_plain,
    "google.protobuf.Struct": lambda value: isinstance(value, dict) and is_plain(value),
    "google.protobuf.ListValue": lambda value: isinstance(value, list) and is_plain(value),
}


def wrong(where: str, wanted: str) -> Refusal:
    return unreadable(f"“{where.rstrip('.')}” must be {wanted}")


def values(content: Any, field: str) -> Iterator[Any]:
    """Each value at `field` (`a.b`, `a[].b`, the keys of `a{}`); none where it is absent."""
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
    """The keys of a map, or of one in a JSON string (datasets' tags)."""
    if isinstance(value, str):
        try:
            value = strict_json.loads(value)
        except (ValueError, RecursionError) as error:
            raise unreadable(str(error)) from None
    if isinstance(value, dict):
        yield from value
