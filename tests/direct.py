"""MLflow's client on the server itself, past the portal, in the workspace of users without an organisation."""

from collections.abc import Callable
from typing import Any

from mlflow import MlflowClient
from mlflow.utils.workspace_context import WorkspaceContext

SHARED = "shared"


class DirectClient:
    """`MlflowClient`, each of whose calls acts in a workspace; a portal's callers do not choose one."""

    def __init__(self, url: str, workspace: str = SHARED) -> None:
        self.client, self.workspace = MlflowClient(url, url), workspace

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            with WorkspaceContext(self.workspace):
                return method(*arguments, **options)

        return call
