"""What a call is about, for the usage log: the object that it names in its body, path or query. Pure.

For telling stories, not for permission: what is written is found by `proxy.policy.ownership`, strictly.
"""

from urllib.parse import parse_qsl

from proxy.request import artifact_paths
from proxy.request.messages import Json, values
from proxy.routes.objects import ObjectRef
from proxy.routes.operations import Match

# In the order of how much they say.
KINDS = {
    "run_id": "run",
    "run_uuid": "run",
    "model_id": "logged_model",
    "trace_id": "trace",
    "dataset_id": "dataset",
    "experiment_id": "experiment",
}


def subject(match: Match, query: str) -> ObjectRef | None:
    """What a call that reads is about; None if its address names nothing."""
    operation, arguments = match.operation.name, match.arguments
    fields = {**dict(parse_qsl(query)), **arguments} if query else arguments
    if operation.startswith("artifacts.") and not operation.endswith("-run"):
        path = fields.get("artifact_path") or fields.get("path", "")
        return thing(*artifact_paths.holder(path)) if path else None
    if operation.startswith(("registered-models.", "model-versions.")) and fields.get("name"):
        return thing("registered_model", fields["name"])
    for field, kind in KINDS.items():
        if name := fields.get(field):
            return thing(kind, name)
    return None


def wanted(match: Match, content: Json) -> ObjectRef | None:
    """The registered model that a call would make; None for any other call."""
    if match.operation.name != "registered-models.create":
        return None
    return first("registered_model", content, "name")


def made(match: Match, answer: Json) -> ObjectRef | None:
    """What a call has made, by MLflow's answer; of a model version, the model is what it is about."""
    created = match.operation.created
    if created is None or created.kind == "model_version":
        return None
    return first(created.kind, answer, created.field)


def first(kind: str, content: Json, field: str) -> ObjectRef | None:
    return next((thing(kind, str(name)) for name in values(content, field)), None)


def thing(kind: str, name: str) -> ObjectRef:
    return ObjectRef(kind=kind, name=name)
