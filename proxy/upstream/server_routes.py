"""Requests to MLflow about the server itself, which act in no organisation's workspace."""

from proxy.upstream.client import PROBE_TIMEOUT, UpstreamResponse, prepare, send_with_retry
from proxy.upstream.workspaces import ServerRoute


def ask_server(
    url: str,
    route: ServerRoute,
    *,
    method: str = "GET",
    name: str = "",
    body: bytes | None = None,
    timeout: float = PROBE_TIMEOUT,
) -> UpstreamResponse:
    """The response of the MLflow at `url` to a request about the server itself; `name` is the path's last segment.
    Past the breaker, which only calls of callers open and close. Raises Refusal if there is none."""
    headers = {"Content-Type": "application/json"} if body is not None else {}
    prepared = prepare(url, method, route.value + (f"/{name}" if name else ""), headers=headers)
    return send_with_retry(url, method, prepared, body, timeout=timeout)
