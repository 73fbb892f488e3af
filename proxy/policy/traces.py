"""Protects traces that were created without the portal: their ids cannot be claimed."""

import json

from django.conf import settings

from keys.credentials.caller import Caller
from proxy.policy import ownership
from proxy.request import messages
from proxy.routes.objects import RequestObjects
from proxy.upstream.client import bad_gateway, send

TIMEOUT = 10.0  # seconds


def refuse_unowned(caller: Caller, objects: RequestObjects, *, url: str) -> None:
    """Raise Refusal (403) if the caller claims the id of a trace that nobody owns but that exists in the MLflow at
    `url`; 502 if MLflow cannot tell."""
    if not objects.claims or settings.OWNERSHIP != "enforce" or caller.any_owner:
        return
    owned = ownership.owners_of(caller.environment, objects.claims)
    unowned = [claim for claim in objects.claims if claim not in owned]
    existing = existing_traces(url, [trace.name for trace in unowned]) if unowned else set()
    for trace in unowned:
        if trace.name in existing:
            raise ownership.not_owner(trace, None)


def existing_traces(url: str, trace_ids: list[str]) -> set[str]:
    """Those of the traces that MLflow has; the portal asks in its own name."""
    response = send(
        url,
        method="POST",
        path="/api/3.0/mlflow/traces/batchGetInfos",
        headers={"Content-Type": "application/json"},
        body=json.dumps({"trace_ids": trace_ids}).encode(),
        timeout=TIMEOUT,
    )
    content = messages.decode(response.data) if response.status == 200 else None
    if content is None:
        raise bad_gateway(
            "upstream_broken",
            "MLflow did not state whether the trace exists already, so the portal did not forward it. Try again.",
        )
    return {str(name) for name in messages.values(content, "trace_infos[].trace_id")}
