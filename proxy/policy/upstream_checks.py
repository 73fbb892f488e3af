"""Checks that need a response from MLflow: whether a trace with a claimed id exists, whether a version's source is in
the artifacts of the caller's run, and whether the server itself runs a scorer."""

import json
import re
from urllib.parse import quote, urlencode

from django.conf import settings

from keys.credentials.caller import Caller
from keys.refusals import Refusal, forbidden, not_sent
from proxy.policy import dangerous_input, ownership
from proxy.request import messages
from proxy.request.messages import Json
from proxy.routes.objects import ObjectRef, RequestObjects
from proxy.routes.operations import Match
from proxy.upstream import server_release
from proxy.upstream.client import send
from proxy.upstream.workspaces import Workspace

TIMEOUT = 10.0  # seconds
BATCH_SINCE = "3.14"  # 3.11, between two tested releases


def refuse_unowned(caller: Caller, objects: RequestObjects, *, url: str) -> None:
    """Raise Refusal (403) if the caller claims the id of a trace that nobody owns but that exists in the MLflow at
    `url`; 429 if MLflow cannot tell."""
    if not objects.claims or settings.OWNERSHIP != "enforce" or caller.any_owner:
        return
    owned = ownership.owners_of(caller.namespace, objects.claims)
    unowned = [claim for claim in objects.claims if claim not in owned]
    workspace = Workspace.of(caller.organisation)
    try:
        existing = existing_traces(url, workspace, [trace.name for trace in unowned]) if unowned else set()
    except Refusal as refusal:
        raise unknown_existence() from refusal
    for trace in unowned:
        if trace.name in existing:
            raise ownership.not_owner(trace, None)


def existing_traces(url: str, workspace: Workspace, trace_ids: list[str]) -> set[str]:
    """Those of the traces that MLflow has; the portal asks in its own name."""
    release = server_release.release_of(url)
    if release is None or release.has(since=BATCH_SINCE) is not False:
        existing = existing_in_batch(url, workspace, trace_ids)
        if existing is not None:
            return existing
    return {trace_id for trace_id in trace_ids if is_existing(url, workspace, trace_id)}


def existing_in_batch(url: str, workspace: Workspace, trace_ids: list[str]) -> set[str] | None:
    """`existing_traces` in one call; None from a server that lacks the route (below 3.11)."""
    response = send(
        url,
        workspace=workspace,
        method="POST",
        path="/api/3.0/mlflow/traces/batchGetInfos",
        headers={"Content-Type": "application/json"},
        body=json.dumps({"trace_ids": trace_ids}).encode(),
        timeout=TIMEOUT,
    )
    body = response.data
    if response.status in (404, 405):
        return None
    if response.status != 200:
        raise unknown_existence()
    return {str(name) for name in messages.values(messages.decode(body), "trace_infos[].trace_id")}


def is_existing(url: str, workspace: Workspace, trace_id: str) -> bool:
    """Whether MLflow has the trace, by a route that every supported release has."""
    path = f"/api/2.0/mlflow/traces/{quote(trace_id, safe='')}/info"
    response = send(url, workspace=workspace, method="GET", path=path, timeout=TIMEOUT)
    body = response.data
    if response.status == 404 and b"RESOURCE_DOES_NOT_EXIST" in body:
        return False
    if response.status != 200:
        raise unknown_existence()
    return True


def unknown_existence() -> Refusal:
    return not_sent(
        "upstream_unreachable",
        "MLflow did not state whether the trace exists already, so the portal did not send your call there. Try again "
        "in a few seconds.",
    )


def refuse_foreign_source(caller: Caller, match: Match, content: Json, *, url: str) -> None:
    """Raise Refusal (400) for a model version's source in another store than MLflow's own, unless it is in the
    artifacts of the run or logged model that the call names and that the caller owns."""
    source = str(content.get("source", "")) if match.operation.name == "model-versions.create" else ""
    if not dangerous_input.is_foreign_source(source):
        return
    workspace = Workspace.of(caller.organisation)
    for kind, field, path, name in (
        ("run", "run_id", "/api/2.0/mlflow/runs/get?run_id=", "run.info.artifact_uri"),
        ("logged_model", "model_id", "/api/2.0/mlflow/logged-models/", "model.info.artifact_uri"),
    ):
        ref = ObjectRef(kind=kind, name=str(content.get(field) or ""))
        if (
            ref.name
            and is_own(caller, ref)
            and is_inside(source, artifact_root(url, workspace, path, ref.name, name))
        ):
            return
    raise dangerous_input.foreign_source()


def is_own(caller: Caller, ref: ObjectRef) -> bool:
    owner = ownership.owner_of(caller.namespace, ref)
    return caller.any_owner or bool(owner and not owner.is_reserved and ownership.may_write(caller, owner))


def artifact_root(url: str, workspace: Workspace, path: str, object_id: str, field: str) -> str:
    """The address of an object's artifacts, "" if MLflow does not state it."""
    path, _, query = (path + quote(object_id, safe="")).partition("?")
    response = send(url, workspace=workspace, method="GET", path=path, query=query, timeout=TIMEOUT)
    body = response.data
    roots = messages.values(messages.decode(body), field) if response.status == 200 else iter(())
    return str(next(roots, ""))


def is_inside(source: str, root: str) -> bool:
    """Whether an address is the root or below it, whatever a store makes of it."""
    root = root.rstrip("/")
    is_plain = not re.search(r"[\\\\%?#;\x00-\x20\x7f]", source) and not {".", ".."} & set(source.split("/"))
    return bool(root) and is_plain and f"{source.rstrip('/')}/".startswith(f"{root}/")


def refuse_running_scorer(caller: Caller, match: Match, content: Json, *, url: str) -> None:
    """Raise Refusal (403) for a new version of a scorer that MLflow runs on new traces with secrets of its own: it runs
    the newest version (`get_active_online_scorers` in MLflow's SQL store). 429 if MLflow does not tell."""
    if match.operation.name != "scorers.register":
        return
    workspace = Workspace.of(caller.organisation)
    scorers = "/api/3.0/mlflow/scorers"
    named = {name: str(content.get(name, "")) for name in ("experiment_id", "name")}
    response = send(
        url, workspace=workspace, method="GET", path=f"{scorers}/get", query=urlencode(named), timeout=TIMEOUT
    )
    body = response.data
    if response.status == 404 and b"RESOURCE_DOES_NOT_EXIST" in body:
        return
    scorer = (
        next(messages.values(messages.decode(body), "scorer.scorer_id"), "") if response.status == 200 else ""
    )
    query = urlencode({"scorer_ids": str(scorer)})
    response = send(
        url, workspace=workspace, method="GET", path=f"{scorers}/online-configs", query=query, timeout=TIMEOUT
    )
    body = response.data
    if not scorer or response.status != 200:
        raise not_sent(
            "upstream_unreachable",
            "MLflow did not state whether it runs this scorer, so the portal did not send your call there. Try again "
            "in a few seconds.",
        )
    if any(messages.values(messages.decode(body), "configs[].scorer_id")):
        raise forbidden(
            "scorer_runs",
            "MLflow's server runs this scorer on new traces, and would run the new version with its own secrets. "
            "Register it under another name, or ask your administrator to stop its automatic evaluation.",
        )
