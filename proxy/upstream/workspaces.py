"""Where at MLflow a call acts: in the workspace of one organisation.

Every call to MLflow needs a `Workspace` (`proxy.upstream.client.send`), which is only made from an organisation. So no
call can be written that MLflow would answer from `default` or from everywhere. MLflow's workspaces have no users of
their own: the header decides, and only the portal sets it.
"""

from dataclasses import dataclass
from enum import Enum

from django.conf import settings

from keys.models import Organisation
from proxy.models import Manifest

HEADER = "X-MLFLOW-WORKSPACE"
DEFAULT = "default"  # the one whose files MLflow keeps outside of workspaces/


@dataclass(frozen=True)
class Workspace:
    """The workspace of an organisation. Made by `of` alone."""

    slug: str

    @classmethod
    def of(cls, organisation: Organisation) -> "Workspace":
        return cls(organisation.slug)

    @property
    def headers(self) -> dict[str, str]:
        """The header that selects it; none with ISOLATION=off, since a server without workspaces responds to the header
        with 500."""
        return {HEADER: self.slug} if settings.ISOLATION == "required" else {}


def store_path(path: str, workspace: Workspace) -> str:
    """The path in MLflow's store of an artifact path in a workspace, which may have the workspace's prefix or not
    (mlflow/server/handlers.py, `_get_workspace_scoped_repo_path_if_enabled`)."""
    if not workspace.headers or workspace.slug == DEFAULT or path.startswith("workspaces/"):
        return path
    return f"workspaces/{workspace.slug}/{path}"


def present_root(manifest: Manifest) -> str:
    """The folder of a version's files as events name it now: a manifest from before `manage.py organise` has the folder
    from which the files were moved. "" if they are not in MLflow's own store."""
    if not manifest.root:
        return ""
    return store_path(manifest.root, Workspace.of(manifest.registration.organisation))


class ServerRoute(Enum):
    """The routes of MLflow's that concern the server as a whole, and read and write nobody's objects."""

    HEALTH = "/health"
    VERSION = "/version"
    INFO = "/api/3.0/mlflow/server-info"
    WORKSPACES = "/api/3.0/mlflow/workspaces"
