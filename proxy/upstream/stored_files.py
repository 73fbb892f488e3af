"""Files in MLflow's artifact store, of which the portal asks MLflow in its own name."""

import posixpath
from urllib.parse import urlencode

from keys.refusals import Refusal
from proxy.request import messages
from proxy.upstream.client import send
from proxy.upstream.workspaces import Workspace

TIMEOUT = 20.0  # seconds


def sizes_in_folder(url: str, workspace: Workspace, path: str) -> dict[str, int] | None:
    """By name: the bytes of each file in the folder of an artifact path, 0 for a folder; None if MLflow does not list
    it."""
    try:
        response = send(
            url,
            workspace=workspace,
            method="GET",
            path="/api/2.0/mlflow-artifacts/artifacts",
            query=urlencode({"path": posixpath.dirname(path)}),
            timeout=TIMEOUT,
        )
        body = response.data
        content = messages.decode(body) if response.status == 200 else None
    except Refusal:
        return None
    if content is None:
        return None
    files = [file for file in content.get("files", []) if isinstance(file, dict)]
    return {posixpath.basename(str(file.get("path"))): int(file.get("file_size") or 0) for file in files}


def is_missing(url: str, workspace: Workspace, path: str) -> bool:
    """Whether MLflow's listing lacks the file."""
    sizes = sizes_in_folder(url, workspace, path)
    return sizes is not None and posixpath.basename(path) not in sizes


def size_of(url: str, workspace: Workspace, path: str) -> int:
    """The file's bytes, 0 if MLflow does not state them."""
    return (sizes_in_folder(url, workspace, path) or {}).get(posixpath.basename(path), 0)
