"""A registry in memory, in place of MLflow's, for what only reads models and versions by name."""

from dataclasses import dataclass, field
from typing import Any

from keys.models import Organisation
from proxy.upstream.workspaces import Workspace

RUN = "a" * 32


@dataclass
class MemoryRegistry:
    """One organisation's models, each with its versions; `locations` by name and version, if not the run's folder."""

    organisation: Organisation
    models: dict[str, list[str]]
    locations: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def workspace(self) -> Workspace:
        return Workspace.of(self.organisation)

    def run(self, run_id: str) -> dict[str, Any] | None:
        root = f"mlflow-artifacts:/workspaces/{self.organisation}/1/{RUN}/artifacts"
        return {"info": {"artifact_uri": root}} if run_id == RUN else None

    def model(self, name: str) -> dict[str, Any] | None:
        if name not in self.models:
            return None
        latest = [self.version(name, number) for number in self.models[name][-1:]]
        return {"name": name, "description": f"about {name}", "tags": [], "latest_versions": latest}

    def version(self, name: str, version: str) -> dict[str, Any] | None:
        if version not in self.models.get(name, []):
            return None
        tags = [{"key": "stage", "value": "checked"}]
        return {"name": name, "version": version, "run_id": RUN, "source": "models:/m-1", "tags": tags}

    def versions(self, name: str) -> list[dict[str, Any]]:
        return [self.version(name, number) for number in self.models[name]]

    def get(self, path: str, query: list[tuple[str, str]]) -> dict[str, Any] | None:
        asked = dict(query)
        if path.endswith("alias"):
            return (
                {"model_version": self.version(asked["name"], "2")} if asked["alias"] == "champion" else None
            )
        if path.endswith("get-latest-versions"):
            return {"model_versions": [self.version(asked["name"], self.models[asked["name"]][-1])]}
        default = f"mlflow-artifacts:/workspaces/{self.organisation}/1/{RUN}/artifacts/m"
        return {"artifact_uri": self.locations.get((asked["name"], asked["version"]), default)}
