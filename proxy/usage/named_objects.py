"""The object that a call names in its path, query or body, for the usage log. Pure.

For information only: `proxy.policy.ownership` determines strictly which objects a request changes.
"""

from urllib.parse import parse_qsl

from proxy.request import artifact_paths
from proxy.request.messages import Json, values
from proxy.routes.objects import ObjectRef
from proxy.routes.operations import Match

# By field, the most specific first.
KINDS = {
    "run_id": "run",
    "run_uuid": "run",
    "model_id": "logged_model",
    "trace_id": "trace",
    "dataset_id": "dataset",
    "experiment_id": "experiment",
}


def find_in_address(match: Match, query: str) -> ObjectRef | None:
    """The object in the path or the query; None if they name none."""
    operation, arguments = match.operation.name, match.arguments
    fields = {**dict(parse_qsl(query)), **arguments} if query else arguments
    if operation.startswith("artifacts.") and not operation.endswith("-run"):
        path = fields.get("artifact_path") or fields.get("path", "")
        if not path:
            return None
        kind, name = artifact_paths.holder(path)
        return ObjectRef(kind=kind, name=name)
    if operation.startswith(("registered-models.", "model-versions.")) and fields.get("name"):
        return ObjectRef(kind="registered_model", name=fields["name"])
    for field, kind in KINDS.items():
        if value := fields.get(field):
            return ObjectRef(kind=kind, name=value)
    return None


def find_requested(match: Match, content: Json) -> ObjectRef | None:
    """The registered model that a request asks to create; None for any other request."""
    if match.operation.name != "registered-models.create":
        return None
    return find_first("registered_model", content, "name")


def find_created(match: Match, response: Json) -> ObjectRef | None:
    """The object that MLflow created, from its response; None for a model version and an assessment, whose calls name
    the model and the trace."""
    created = match.operation.created
    if created is None or created.kind in ("model_version", "assessment"):
        return None
    return find_first(created.kind, response, created.field)


def find_first(kind: str, content: Json, field: str) -> ObjectRef | None:
    return next((ObjectRef(kind=kind, name=str(name)) for name in values(content, field)), None)
