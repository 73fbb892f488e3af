"""Transfers that MLflow's clients make directly with its store: the flags that announce them in `server-info`, and the
routes that return addresses of the store. Unless DIRECT_ARTIFACTS is on, all are closed. Pure.

Clients fall back to a transfer through the portal after 501, or up to 3.17 if the message begins with MLflow's words
(mlflow/store/artifact/http_artifact_repo.py).
"""

import json
from urllib.parse import parse_qsl

from keys.refusals import Refusal
from keys.rights.scopes import Scope
from proxy.routes.operations import Operation

# What clients and pages need to know. A flag that a later release adds may announce another way past the portal.
PASSED = frozenset(
    {
        *("store_type", "workspaces_enabled", "trace_archival_enabled", "artifact_serving_enabled"),
        *("skill_content_max_size", "skill_content_max_files"),
    }
)
DIRECT = frozenset(
    {
        *("multipart_uploads_enabled", "multipart_downloads_enabled", "artifacts_presigned_only"),
        *("presigned_upload_run_id_supported", "presigned_upload_model_id_supported"),
        "model_artifact_presigned_downloads_supported",
    }
)
UPLOAD = "Multipart upload is not supported for the current artifact repository"
DOWNLOAD = "Presigned download is not supported for the current artifact repository"
OPERATIONS = {
    "artifacts.mpu-create": UPLOAD,
    "artifacts.mpu-complete": UPLOAD,
    "artifacts.mpu-abort": UPLOAD,
    "artifacts.presigned": DOWNLOAD,
    "artifacts.presigned-download-url": DOWNLOAD,
}
PARAMETER = "presigned"  # of routes that otherwise return a file


def filter_flags(content: bytes, *, direct_artifacts: bool, has_workspaces: bool = True) -> bytes:
    """The response with the known fields alone, without the features that the portal refuses, and, unless
    `direct_artifacts`, with every flag of a direct transfer off. Without `has_workspaces`, as of a server without
    workspaces.

    Content that is not a JSON object is returned unchanged.
    """
    try:
        info = json.loads(content)
    except ValueError:
        return content
    if not isinstance(info, dict):
        return content
    passed = {name: value for name, value in info.items() if name in PASSED}
    passed |= {name: direct_artifacts and value for name, value in info.items() if name in DIRECT}
    if not has_workspaces and "workspaces_enabled" in passed:
        passed["workspaces_enabled"] = False
    if isinstance(features := info.get("features_enabled"), dict):
        passed["features_enabled"] = dict.fromkeys(features, False)
    return json.dumps(passed).encode()


def refuse(operation: Operation, query: str) -> None:
    """Raise Refusal (501) for a request for addresses of the store."""
    words = OPERATIONS.get(operation.name, "")
    if not words and Scope.ARTIFACTS_READ in operation.scopes:
        words = DOWNLOAD if any(name == PARAMETER for name, _ in parse_qsl(query)) else ""
    if words:
        raise Refusal(
            status=501,
            error_code="NOT_IMPLEMENTED",
            reason="direct_artifacts",
            message=f"{words}: artifacts pass through the portal. MLflow's client does that by itself; other programs "
            "use the route of the artifact.",
        )


def is_direct(operation: Operation, query: str) -> bool:
    """Whether a successful response lets the client transfer a file directly, or ends such a transfer."""
    if operation.name in ("artifacts.mpu-complete", "artifacts.presigned"):
        return True
    return Scope.ARTIFACTS_READ in operation.scopes and (PARAMETER, "true") in parse_qsl(query)
