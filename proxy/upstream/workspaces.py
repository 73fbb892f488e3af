"""Where at MLflow a call acts: in the workspace of one organisation.

Every call to MLflow needs a `Workspace` (`proxy.upstream.client.send`), which is only made from an organisation. So no
call can be written that MLflow would answer from `default` or from everywhere. MLflow's workspaces have no users of
their own: the header decides, and only the portal sets it.
"""

from dataclasses import dataclass
from enum import Enum

from django.conf import settings

from keys.models import Organisation

HEADER = "X-MLFLOW-WORKSPACE"


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


class ServerRoute(Enum):
    """The routes of MLflow's that concern the server as a whole, and read and write nobody's objects."""

    HEALTH = "/health"
    VERSION = "/version"
    INFO = "/api/3.0/mlflow/server-info"
    WORKSPACES = "/api/3.0/mlflow/workspaces"
