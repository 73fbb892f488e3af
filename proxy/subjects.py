"""What a call is about, for the usage log: the object that it names in its body, path or query. Pure.

For telling stories, not for permission: what is written is found by `proxy.ownership`, strictly.
"""

from urllib.parse import parse_qsl

from proxy import artifacts
from proxy.operations import Match
from proxy.ownership import Thing

# In the order of how much they say.
KINDS = {
    "run_id": "run",
    "run_uuid": "run",
    "model_id": "logged_model",
    "trace_id": "trace",
    "dataset_id": "dataset",
    "experiment_id": "experiment",
}


def subject(match: Match, query: str) -> Thing | None:
    """What a call that reads is about; None if its address names nothing."""
    operation, arguments = match.operation.name, match.arguments
    fields = {**dict(parse_qsl(query)), **arguments} if query else arguments
    if operation.startswith("artifacts.") and not operation.endswith("-run"):
        path = fields.get("artifact_path") or fields.get("path", "")
        return thing(*artifacts.holder(path)) if path else None
    if operation.startswith(("registered-models.", "model-versions.")) and fields.get("name"):
        return thing("registered_model", fields["name"])
    for field, kind in KINDS.items():
        if name := fields.get(field):
            return thing(kind, name)
    return None


def thing(kind: str, name: str) -> Thing:
    return Thing(kind=kind, name=name)
