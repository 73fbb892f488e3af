"""A client for MLflow's registry: the portal reads it over the REST API in its own name."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

from django.conf import settings

from keys.models import ApiKey, Namespace, Organisation
from keys.refusals import Refusal
from proxy.request import messages, paths
from proxy.request.messages import Json
from proxy.upstream.client import send
from proxy.upstream.workspaces import Workspace

API = "/api/2.0/mlflow"
PAGE = 500  # objects; MLflow's limit is 1000 for models
# MLflow's searches leave prompts out unless asked for them (store/model_registry/sqlalchemy_store.py).
PROMPTS = "tags.`mlflow.prompt.is_prompt` = 'true'"


RUN = re.compile(r"runs:/([0-9a-zA-Z]+)(?:/(.*))?")
LOGGED_MODEL = re.compile(r"models:/(m-[0-9a-zA-Z]+)/?")
PLAIN = re.compile(r"[\w .+@/-]+")

Query = Sequence[tuple[str, str]]


class RegistryError(Exception):
    """MLflow is unavailable, or sent an unexpected response. The message, in full sentences, is for the operator."""


class Registry:
    """An organisation's workspace of the MLflow at `url`. Every method raises RegistryError."""

    def __init__(self, url: str, *, namespace: Namespace, workspace: Workspace) -> None:
        self.url, self.namespace, self.workspace = url, namespace, workspace

    def ask(self, method: str, path: str, query: Query = (), body: Json | None = None) -> tuple[int, Json]:
        """MLflow's status and JSON. A status from 500, and a refusal of the portal itself, raise RegistryError."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            response = send(
                self.url,
                workspace=self.workspace,
                method=method,
                path=path,
                query=urlencode(query),
                headers=headers,
                body=None if body is None else json.dumps(body).encode(),
            )
            received = response.peek()
        except Refusal as refusal:
            raise RegistryError(refusal.message) from refusal
        try:
            content = messages.decode(received)
        except Refusal as refusal:
            raise RegistryError(f"MLflow's response to {method} {path} is not JSON.") from refusal
        if response.status >= 500 or response.status in (401, 403, 407):
            raise RegistryError(f"MLflow responded to {method} {path} with status {response.status}.")
        return response.status, content

    def get(self, path: str, query: Query = ()) -> Json | None:
        """The object; None if MLflow has no such object (or rejects its name as malformed)."""
        status, content = self.ask("GET", path, query)
        if status in (400, 404):
            return None
        if status != 200:
            raise RegistryError(f"MLflow responded to GET {path} with status {status}.")
        return content

    def one(self, field: str, path: str, query: Query = ()) -> Json | None:
        content = self.get(path, query)
        if content is None:
            return None
        wanted = content.get(field)
        if not isinstance(wanted, dict):
            raise RegistryError(f"MLflow's response to GET {path} has no “{field}”.")
        return wanted

    def model(self, name: str) -> Json | None:
        return self.one("registered_model", f"{API}/registered-models/get", [("name", name)])

    def version(self, name: str, version: str) -> Json | None:
        query = [("name", name), ("version", version)]
        return self.one("model_version", f"{API}/model-versions/get", query)

    def logged_model(self, model_id: str) -> Json | None:
        return self.one("model", f"{API}/logged-models/{paths.encode(model_id)}")

    def run(self, run_id: str) -> Json | None:
        return self.one("run", f"{API}/runs/get", [("run_id", run_id)])

    def models(self) -> Iterator[Json]:
        """Every registered model, prompts included."""
        for condition in ("", PROMPTS):
            yield from self.pages(
                "registered-models/search", "registered_models", filter=condition, order_by="name ASC"
            )

    def versions(self, name: str | None = None) -> Iterator[Json]:
        """Every version, or those of one model, prompts included."""
        condition = "" if name is None else name_condition(name)
        for prompts in ("", PROMPTS):
            search = " AND ".join(part for part in (condition, prompts) if part)
            versions = self.pages(
                "model-versions/search",
                "model_versions",
                filter=search,
                order_by=["name ASC", "version_number ASC"],
            )
            yield from (version for version in versions if name in (None, version["name"]))

    def logged_models(self, experiment_id: str) -> Iterator[Json]:
        """Every logged model of an experiment."""
        token = None
        while True:
            asked: Json = {"experiment_ids": [experiment_id], "max_results": 50}
            if token:
                asked["page_token"] = token
            status, content = self.ask("POST", f"{API}/logged-models/search", body=asked)
            if status != 200:
                return
            yield from content.get("models", [])
            token = content.get("next_page_token")
            if not token:
                return

    def pages(self, path: str, field: str, **query: Any) -> Iterator[Json]:
        """Each object of a search, page by page."""
        asked = [
            (name, item)
            for name, value in query.items()
            for item in (value if isinstance(value, list) else [value])
            if item
        ]
        token = ""
        while True:
            more = [("page_token", token)] if token else []
            limit = ("max_results", str(PAGE))
            status, content = self.ask("GET", f"{API}/{path}", [*asked, limit, *more])
            if status != 200:
                raise RegistryError(f"MLflow refused {path} ({content.get('message', status)}).")
            yield from content.get(field, [])
            token = content.get("next_page_token") or ""
            if not token:
                return


def resolve(registry: Registry, location: str) -> str:
    """The address of the store to which a version's source leads; "" if its run or logged model does not exist. Raises
    RegistryError."""
    if match := RUN.fullmatch(location):
        run = registry.run(match[1])
        root = str((run or {}).get("info", {}).get("artifact_uri", ""))
        return f"{root.rstrip('/')}/{match[2]}" if root and match[2] else root
    if match := LOGGED_MODEL.fullmatch(location):
        model = registry.logged_model(match[1])
        return str((model or {}).get("info", {}).get("artifact_uri", ""))
    return location


def name_condition(name: str) -> str:
    """A search's condition for a name; "" (no condition) for a name that MLflow's filter language, which has no
    escapes, may not accept."""
    return f"name = '{name}'" if PLAIN.fullmatch(name) else ""


def tags(holder: Json) -> dict[str, str]:
    return {tag["key"]: tag.get("value", "") for tag in holder.get("tags", [])}


def registry_of(namespace: Namespace) -> Registry | None:
    """The registry of an organisation; None if the environment has no MLflow server."""
    url = server_url(namespace.environment)
    if not url:
        return None
    organisation = Organisation.objects.get(pk=namespace.organisation_id)
    return Registry(url, namespace=namespace, workspace=Workspace.of(organisation))


def registries() -> Iterator[Registry]:
    """The registry of each organisation, closed ones too, in each environment that has an MLflow server."""
    for environment in ApiKey.Environment.values:
        if url := server_url(environment):
            for organisation in Organisation.objects.order_by("pk"):
                namespace = Namespace.of(environment, organisation)
                yield Registry(url, namespace=namespace, workspace=Workspace.of(organisation))


def server_url(environment: str) -> str:
    """The MLflow server that keys of this environment reach; "" if there is none."""
    return settings.MLFLOW_TEST_URL if environment == ApiKey.Environment.TEST else settings.MLFLOW_URL
