"""A real MLflow beside the ledger's rows."""

import json
import secrets
from dataclasses import dataclass
from typing import Any

import requests
from django.core.management import call_command

from keys.models import ApiKey, Namespace
from proxy.ledger import reconcile, writer
from proxy.models import Registration
from proxy.routes import matching
from proxy.upstream.registry import Registry, registry_of
from tests.proxy.ledger_rows import pending

WORKSPACE = {"X-MLFLOW-WORKSPACE": "shared"}  # that of users without an organisation


@dataclass
class World:
    """The real MLflow, called directly, and the key whose calls these are."""

    url: str
    key: ApiKey
    name: str

    @property
    def registry(self) -> Registry:
        return registry_of(Namespace.shared("live"))

    def call(self, call: str, body: dict[str, Any]) -> dict[str, Any]:
        method, _, path = call.partition(" ")
        answer = requests.request(
            method, f"{self.url}/api/2.0/mlflow/{path}", json=body, headers=WORKSPACE, timeout=30
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def stamps(self, key: ApiKey | None = None) -> list[dict[str, str]]:
        key = key or self.key
        return [
            {"key": "hokusai.user_id", "value": key.owner.public_id},
            {"key": "hokusai.key_id", "value": key.public_id},
        ]

    def begin(
        self, call: str, body: dict[str, Any], key: ApiKey | None = None, **columns: Any
    ) -> Registration:
        """The row that the portal writes before it makes the call; `columns` in place of its own."""
        method, _, path = call.partition(" ")
        columns = (
            writer.describe_request(matching.match_operation(method, f"/api/2.0/mlflow/{path}"), body)
            | columns
        )
        caller = None if "actor" in columns else key or self.key
        return pending(caller, columns.pop("operation"), columns.pop("object_name"), **columns)

    def create(self, name: str | None = None, key: ApiKey | None = None) -> dict[str, Any]:
        return {"name": name or self.name, "tags": self.stamps(key)}

    def version(self, name: str | None = None) -> dict[str, Any]:
        return {"name": name or self.name, "source": "models:/base/1", "tags": self.stamps()}

    def settle(self) -> None:
        reconcile.reconcile_pending(self.registry, every=True)

    def model(self) -> None:
        self.call("POST registered-models/create", self.create())

    def add_version(self) -> dict[str, Any]:
        version = {"name": self.name, "source": f"models:/{self.base()}/1", "tags": self.stamps()}
        return self.call("POST model-versions/create", version)["model_version"]

    def experiment(self) -> str:
        """The id of a new experiment: MLflow's own exists in no organisation's workspace."""
        return str(self.call("POST experiments/create", {"name": secrets.token_hex(8)})["experiment_id"])

    def base(self) -> str:
        """A model of which versions may be copies; MLflow checks that it is there."""
        name = "reconcile-base"
        if self.registry.model(name) is None:
            self.call("POST registered-models/create", {"name": name})
            self.call("POST model-versions/create", {"name": name, "source": "s3://bucket/model"})
        return name


def run(capsys, *arguments) -> tuple[int, dict[str, Any]]:
    """`manage.py reconcile` with these arguments: its exit status and its report."""
    capsys.readouterr()
    try:
        call_command("reconcile", "--json", *arguments)
        status = 0
    except SystemExit as ended:
        status = ended.code
    return status, json.loads(capsys.readouterr().out)
