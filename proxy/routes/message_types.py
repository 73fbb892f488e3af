"""The types of MLflow's protobuf messages, read from `fields.json`. Pure.

`manage.py mlflow_table --write` generates the file from an installed MLflow.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

FIELDS = Path(__file__).parent / "fields.json"


@cache
def load_types() -> dict[str, Any]:
    """`requests`: "METHOD /api/…" to the message of its body; `messages`: message to the types of its fields;
    `oneofs`: message to groups of fields of which a request may set one."""
    return dict(json.loads(FIELDS.read_text()))


def messages_by_request() -> Mapping[str, str]:
    return load_types()["requests"]  # type: ignore[no-any-return]


@cache
def field_names(message: str) -> dict[str, str]:
    """Each spelling of a message's fields that MLflow accepts, mapped to the field's name."""
    fields = load_types()["messages"][message]
    return {spelling: name for name in fields for spelling in (name, camel_case(name))}


def camel_case(name: str) -> str:
    """A field's JSON name as protobuf derives it (descriptor.cc, ToJsonName)."""
    return re.sub(r"_+([a-z])", lambda match: match[1].upper(), name).replace("_", "")
