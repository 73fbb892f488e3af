"""Refuses the id of another organisation's object in a field that only names it (`ref=` in `proxy.routes.served`).

MLflow stores such ids without asking to which workspace they belong. So the object must have an owner in the caller's
organisation, or MLflow must have it in the organisation's workspace.
"""

from collections.abc import Sequence
from urllib.parse import quote

from django.conf import settings

from keys.credentials.caller import Caller
from keys.refusals import Refusal, not_sent
from proxy.policy import ownership, upstream_checks
from proxy.routes.objects import ObjectRef, RequestObjects
from proxy.upstream.client import send
from proxy.upstream.workspaces import Workspace

TIMEOUT = 10.0  # seconds
FEW = 3  # references that are looked up one by one
# Where MLflow states whether an object exists: the path, to which the id is added, or up to the query's value.
READS = {
    "run": "/api/2.0/mlflow/runs/get?run_id=",
    "logged_model": "/api/2.0/mlflow/logged-models/",
    "experiment": "/api/2.0/mlflow/experiments/get?experiment_id=",
}


def refuse_unknown(caller: Caller, objects: RequestObjects, *, url: str) -> None:
    """Raise Refusal (404) for the first reference to an object outside of the caller's organisation; 429 if MLflow
    cannot tell. The portal asks MLflow only about objects that it does not know."""
    if settings.ISOLATION == "off" or not objects.references:
        return
    unknown = without_owner(caller, objects.references)
    workspace = Workspace.of(caller.organisation)
    traces = [ref.name for ref in unknown if ref.kind == "trace"]
    existing = upstream_checks.existing_traces(url, workspace, traces) if traces else set()
    for ref in unknown:
        is_known = ref.name in existing if ref.kind == "trace" else exists(url, workspace, ref)
        if not is_known:
            raise unknown_object(ref)


def without_owner(caller: Caller, refs: Sequence[ObjectRef]) -> list[ObjectRef]:
    """Those that the portal does not know in the organisation; most calls name one object, whose owner is in memory."""
    if len(refs) <= FEW:
        return [ref for ref in refs if ownership.owner_of(caller.namespace, ref) is None]
    owned = ownership.owners_of(caller.namespace, refs)
    return [ref for ref in refs if ref not in owned]


def exists(url: str, workspace: Workspace, ref: ObjectRef) -> bool:
    """Whether MLflow has the object in this workspace. Raises Refusal (429)."""
    path, _, query = (READS[ref.kind] + quote(ref.name, safe="")).partition("?")
    try:
        response = send(url, workspace=workspace, method="GET", path=path, query=query, timeout=TIMEOUT)
        response.data  # noqa: B018  reads it, so that the connection can be used again
    except Refusal as refusal:
        raise unknown_existence(ref) from refusal
    if response.status >= 500:
        raise unknown_existence(ref)
    return response.status == 200


def unknown_existence(ref: ObjectRef) -> Refusal:
    return not_sent(
        "upstream_unreachable",
        f"MLflow did not state whether the {ref} exists, so the portal did not send your call there. Try again in a "
        "few seconds.",
    )


def unknown_object(ref: ObjectRef) -> Refusal:
    return Refusal(
        status=404,
        error_code="RESOURCE_DOES_NOT_EXIST",
        reason="unknown_object",
        message=f"The call names the {ref}, which does not exist here. Nothing was written. Check the id.",
    )
