"""The routes of the installed MLflow and the fields of its requests, read from its code.

Only `manage.py mlflow_table` and the tests import this file, which needs MLflow. The portal itself uses the table
(`proxy.routes.served`) and the fields (`proxy/routes/fields.json`) in the repository.
"""

import re
from typing import Any

BODY_METHODS = ("POST", "PUT", "PATCH", "DELETE")


def version() -> str:
    import mlflow

    return str(mlflow.__version__)


def routes() -> set[tuple[str, str]]:
    """(method, path) of every route, with parameters as `{name}` or `{name:path}`; without HEAD and OPTIONS."""
    from mlflow.server import app as flask_app
    from mlflow.server.fastapi_app import app as fastapi_app

    pairs = set()
    for rule in flask_app.url_map.iter_rules():
        path = re.sub(r"<(?:path:)(\w+)>", r"{\1:path}", rule.rule)
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path)
        pairs |= {(method, path) for method in rule.methods or () if method not in ("HEAD", "OPTIONS")}
    for route in fastapi_routes(fastapi_app.routes):
        pairs |= {(method, route.path) for method in route.methods if method not in ("HEAD", "OPTIONS")}
    return pairs


def fastapi_routes(listed: Any) -> list[Any]:
    """The routes of FastAPI, including those of its routers, which FastAPI resolves on demand."""
    flat = []
    for route in listed:
        if getattr(route, "methods", None):
            flat.append(route)
        elif hasattr(route, "effective_candidates"):
            flat += fastapi_routes(route.effective_candidates())
    return flat


def requests() -> dict[str, str]:
    """By route (`METHOD /api/…`): the full name of the protobuf message that its handler parses."""
    from mlflow.protos import databricks_pb2, mlflow_artifacts_pb2, model_registry_pb2, service_pb2

    messages = {}
    for module in (service_pb2, model_registry_pb2, mlflow_artifacts_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                for endpoint in method.GetOptions().Extensions[databricks_pb2.rpc].endpoints:
                    path = f"/api/{endpoint.since.major}.0{endpoint.path}"
                    path = re.sub(r"<path:(\w+)>", r"{\1:path}", path).replace(
                        "{assessment.trace_id}", "{trace_id}"
                    )
                    messages[f"{endpoint.method} {path}"] = method.input_type.full_name
    return messages


def fields(message_names: set[str]) -> dict[str, dict[str, str]]:
    """By message name and field name: the field's type, for these messages and all messages in their fields.

    A type is a scalar's name (`string`, `int64`, `double`, `bool`, `enum`) or a message's full name, optionally
    preceded by `repeated ` or `map `.
    """
    from google.protobuf.descriptor import Descriptor
    from mlflow.protos import mlflow_artifacts_pb2, model_registry_pb2, service_pb2  # noqa: F401  registers

    from google.protobuf import descriptor_pool  # isort: skip

    pool = descriptor_pool.Default()
    types: dict[str, dict[str, str]] = {}
    waiting: list[Descriptor] = [pool.FindMessageTypeByName(name) for name in sorted(message_names)]
    while waiting:
        message = waiting.pop()
        if message.full_name in types:
            continue
        types[message.full_name] = {}
        for field in message.fields:
            name, held = field_type(field)
            types[message.full_name][field.name] = name
            waiting += held
    return types


def oneofs(message_names: set[str]) -> dict[str, list[list[str]]]:
    """By message name: the groups of fields of which only one may be set."""
    from google.protobuf import descriptor_pool

    pool = descriptor_pool.Default()
    by_message = {}
    for name in sorted(message_names):
        groups = [
            [field.name for field in group.fields]
            for group in pool.FindMessageTypeByName(name).oneofs
            if len(group.fields) > 1
        ]
        if groups:
            by_message[name] = groups
    return by_message


def facts(served: set[str]) -> dict[str, Any]:
    """The content of `proxy/routes/fields.json` for these routes (`METHOD /api/…`)."""
    wanted = {route: message for route, message in sorted(requests().items()) if route in served}
    messages = fields(set(wanted.values()))
    return {
        "mlflow": version(),
        "requests": wanted,
        "messages": {name: messages[name] for name in sorted(messages)},
        "oneofs": oneofs(set(messages)),
    }


def field_type(field: Any) -> tuple[str, list[Any]]:
    """A field's type as text, and the messages that it contains."""
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        value, held = field_type(kind.fields_by_name["value"])
        return f"map {value}", held
    if field.enum_type is not None:
        known = [text for value in field.enum_type.values for text in (value.name, str(value.number))]
        name, held = "enum " + "|".join(known), []
    elif field.type == BYTES:
        name, held = "bytes", []
    elif kind is not None:
        is_foreign = kind.full_name.startswith("google.protobuf.")
        name, held = kind.full_name, [] if is_foreign else [kind]
    else:
        name, held = SCALARS[field.cpp_type], []
    return (f"repeated {name}" if field.is_repeated else name), held


# google.protobuf.descriptor.FieldDescriptor.CPPTYPE_*
SCALARS = {1: "int32", 2: "int64", 3: "uint32", 4: "uint64", 5: "double", 6: "float", 7: "bool", 9: "string"}
BYTES = 12  # FieldDescriptor.TYPE_BYTES, whose C++ type is that of strings
