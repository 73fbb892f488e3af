"""Tells whether a call would pass: the same steps as `proxy.views`, without calling MLflow or recording the call."""

from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from django.core.handlers.wsgi import get_path_info

from keys.credentials import authentication
from keys.models import ApiKey
from keys.refusals import Refusal
from proxy.policy import permissions
from proxy.policy.decisions import ReceivedRequest
from proxy.request import paths
from proxy.routes import matching

MOUNTS = ("/api/mlflow", "/mlflow", "")
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`status` and `reason` are the refusal's; 200 and "" if the call would be forwarded."""

    passes: bool
    status: int
    reason: str
    message: str
    operation: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def simulate(
    key: ApiKey, *, method: str, target: str, body: bytes = b"", address: str = "", content_type: str = ""
) -> Verdict:
    """The verdict on `method` and `target` (a path with or without a mount, host and query) by `key`."""
    operation = ""
    try:
        caller = authentication.check_state(key)
        path, _, query = target.removeprefix("https://").removeprefix("http://").partition("?")
        path = path[path.find("/") :] if "/" in path else f"/{path}"
        path = without_mount(paths.decode(read_path(path), path))
        match = matching.match_operation(method, path)
        operation = match.operation.name
        request = ReceivedRequest(
            match=match,
            query=paths.check_query(query),
            headers={"content-type": content_type or "application/json"},
            body=None if match.operation.is_streamed else body,
            address=address or (key.networks[0].partition("/")[0] if key.networks else ""),
        )
        decision = permissions.decide(caller, request).enforce()
    except Refusal as refusal:
        return Verdict(
            passes=False,
            status=refusal.status,
            reason=refusal.reason,
            message=refusal.message,
            operation=operation,
        )
    ref = decision.objects.first
    on = f" on {ref}" if ref else ""
    return Verdict(
        passes=True,
        status=200,
        reason="",
        message=f"{operation}{on} would be forwarded.",
        operation=operation,
    )


def read_path(path: str) -> str:
    """The decoded path, as Django's PATH_INFO has it."""
    return get_path_info({"PATH_INFO": unquote_to_bytes(path).decode("latin-1")})


def without_mount(path: str) -> str:
    for mount in MOUNTS:
        if path.startswith(mount + "/"):
            return path.removeprefix(mount)
    return path
