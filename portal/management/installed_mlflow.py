"""The routes of the installed MLflow and the fields of its requests, read from its code.

Only `manage.py mlflow_table` and the tests import this file, which needs MLflow. The portal itself uses the table
(`proxy.routes.served`) and the fields (`proxy/routes/fields.json`) in the repository.
"""

import ast
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SERVER_FOLDERS = ("server", "store/tracking", "store/model_registry", "genai/scorers/online")
CLIENT_FILES = ("file_store.py", "rest_store.py", "databricks_rest_store.py")


def version() -> str:
    import mlflow

    return str(mlflow.__version__)


def routes() -> set[tuple[str, str]]:
    """(method, path) of every route, with parameters as `{name}` or `{name:path}`; without HEAD and OPTIONS."""
    from mlflow.server import app as flask_app

    return flask_routes(flask_app.url_map.iter_rules()) | native_routes()


def unserved_routes() -> set[tuple[str, str]]:
    """The routes that the server declares and answers with 404, because only Databricks serves them."""
    from mlflow.server import app as flask_app

    views = flask_app.view_functions
    return flask_routes(
        rule for rule in flask_app.url_map.iter_rules() if views[rule.endpoint].__name__ == "_not_implemented"
    )


def flask_routes(rules: Iterable[Any]) -> set[tuple[str, str]]:
    pairs = set()
    for rule in rules:
        path = re.sub(r"<(?:path:)(\w+)>", r"{\1:path}", rule.rule)
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path)
        pairs |= {(method, path) for method in rule.methods or () if method not in ("HEAD", "OPTIONS")}
    return pairs


def native_routes() -> set[tuple[str, str]]:
    """FastAPI's routes; older releases have none."""
    try:
        from mlflow.server.fastapi_app import app as fastapi_app
    except ImportError:
        return set()
    return {
        (method, route.path)
        for route in fastapi_routes(fastapi_app.routes)
        for method in route.methods
        if method not in ("HEAD", "OPTIONS")
    }


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


def tags() -> set[str]:
    """The keys of the tags that the server's code reads: the constants of MLflow that hold a tag's key and that its
    server, stores or online scorers use."""
    import mlflow

    root = Path(mlflow.__file__).parent
    files = [
        file
        for folder in SERVER_FOLDERS
        for file in (root / folder).rglob("*.py")
        if file.name not in CLIENT_FILES
    ]
    text = "\n".join(
        line
        for file in files
        for line in file.read_text(encoding="utf-8").splitlines()
        if not re.match(r"\s*(from|import) |\s*\w+,$", line)
    )
    return {key for name, key in tag_constants(root).items() if re.search(rf"\b{re.escape(name)}\b", text)}


def tag_constants(root: Path) -> dict[str, str]:
    """MLflow's constants that hold a tag's key, by name."""
    found = {}
    for file in ("utils/mlflow_tags.py", "prompt/constants.py", "tracing/constant.py"):
        if not (root / file).exists():  # older releases
            continue
        tree = ast.parse((root / file).read_text(encoding="utf-8"))
        bodies = [("", tree.body)]
        bodies += [
            (node.name, node.body)
            for node in tree.body
            if isinstance(node, ast.ClassDef) and node.name in ("TraceTagKey", "TraceExperimentTagKey")
        ]
        for owner, body in bodies:
            for node in body:
                match node:
                    case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(value))):
                        if "mlflow" in value:
                            found[f"{owner}.{name}".strip(".")] = value
    return found
